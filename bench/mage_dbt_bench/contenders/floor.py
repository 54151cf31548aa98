"""The floor: what PostgreSQL and a driver need, with nothing around them."""

from __future__ import annotations

import os
import time

import psycopg

from mage_dbt_bench.contender import Built
from mage_dbt_bench.stack import Stack


class Floor:
    """A new connection, and CREATE TABLE AS with the SQL that dbt compiled."""

    name = "floor"
    what = "A bare driver: connect, then CREATE TABLE AS with the SQL that dbt had compiled."
    builds_all = "it has no graph to build from"

    def __init__(self, stack: Stack, sql: str) -> None:
        self._stack = stack
        self._sql = sql

    def prepare(self) -> None:
        """Nothing to warm."""

    def build(self, model: str | None) -> Built:
        assert model is not None
        with self._stack.warehouse() as connection:
            connection.execute("create schema if not exists floor")
            connection.execute(f'drop table if exists floor."{model}"'.encode())
        create = f'create table "warehouse"."floor"."{model}" as {self._sql}'.encode()
        began = time.time()
        with psycopg.connect(**self._stack.warehouse_arguments()) as connection:
            connection.execute(create)
        return Built(began, time.time())

    def cpu(self) -> float:
        used = os.times()
        return used.user + used.system

    def pids(self) -> list[int]:
        return []

    def close(self) -> None:
        """Nothing stays."""
