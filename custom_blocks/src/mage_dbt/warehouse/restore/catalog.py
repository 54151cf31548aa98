"""What PostgreSQL's catalog says of views: their queries and everything else they have."""

from __future__ import annotations

from mage_dbt.warehouse.postgres import FALLEN

VIEWS = f"""
with recursive standing as (
    select class.oid, true as dropped
    from unnest(%(schemas)s::text[], %(names)s::text[]) as target (schema, name)
    join pg_catalog.pg_namespace as space on space.nspname = target.schema::name
    join pg_catalog.pg_class as class
        on class.relnamespace = space.oid and class.relname = target.name::name
),
{FALLEN}
select class.oid::bigint, space.nspname::text as schema, class.relname::text as name,
    class.relkind::text as kind, pg_catalog.pg_get_viewdef(class.oid) as definition,
    rule.xmin::text as version, pg_catalog.pg_get_userbyid(class.relowner)::text as owner,
    (
        select coalesce(pg_catalog.json_agg(
            pg_catalog.json_build_array(option_name, option_value) order by option_name
        ), '[]') from pg_catalog.pg_options_to_table(class.reloptions)
    ) as options,
    coalesce(method.amname::text, '') as method,
    coalesce(place.spcname::text, '') as tablespace, class.relispopulated as populated,
    (
        select coalesce(pg_catalog.json_agg(distinct depends.refobjid::bigint), '[]')
        from pg_catalog.pg_rewrite as any_rule
        join pg_catalog.pg_depend as depends
            on depends.classid = 'pg_catalog.pg_rewrite'::regclass
            and depends.objid = any_rule.oid
            and depends.refclassid = 'pg_catalog.pg_class'::regclass
        where any_rule.ev_class = class.oid and depends.refobjid <> class.oid
    ) as reads
from (select distinct id from fallen where class = 'pg_catalog.pg_class'::regclass and part = 0)
    as found
join pg_catalog.pg_class as class on class.oid = found.id
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
join pg_catalog.pg_rewrite as rule on rule.ev_class = class.oid and rule.ev_type = '1'
left join pg_catalog.pg_am as method on method.oid = class.relam
left join pg_catalog.pg_tablespace as place on place.oid = class.reltablespace
where class.relkind in ('v', 'm') and class.relpersistence <> 't'
order by class.oid
"""

STANDING = """
select class.oid::bigint, space.nspname::text as schema, class.relname::text as name,
    class.relkind::text as kind
from unnest(%(schemas)s::text[], %(names)s::text[]) as target (schema, name)
join pg_catalog.pg_namespace as space on space.nspname = target.schema::name
join pg_catalog.pg_class as class
    on class.relnamespace = space.oid and class.relname = target.name::name
"""

DIRECT = """
select class.oid::bigint, class.relkind::text as kind, rule.xmin::text as version
from (
    select distinct rule.ev_class as id
    from pg_catalog.pg_depend as depends
    join pg_catalog.pg_rewrite as rule on rule.oid = depends.objid
    where depends.classid = 'pg_catalog.pg_rewrite'::regclass
        and depends.refclassid = 'pg_catalog.pg_class'::regclass
        and depends.refobjid = pg_catalog.to_regclass({relation})
            and rule.ev_class <> depends.refobjid
) as direct
join pg_catalog.pg_class as class on class.oid = direct.id
join pg_catalog.pg_rewrite as rule on rule.ev_class = class.oid and rule.ev_type = '1'
where class.relkind in ('v', 'm') and class.relpersistence <> 't'
order by class.oid
"""

RIGHTS = """
select class.oid::bigint, acl.column_name, coalesce(role.rolname::text, '') as grantee,
    acl.privilege_type as privilege, acl.is_grantable as grantable
from pg_catalog.pg_class as class
cross join lateral (
    select '' as column_name, entry.*
    from pg_catalog.aclexplode(
        coalesce(class.relacl, pg_catalog.acldefault('r', class.relowner))
    ) as entry
    union all
    select attribute.attname::text, entry.*
    from pg_catalog.pg_attribute as attribute
    cross join lateral pg_catalog.aclexplode(attribute.attacl) as entry
    where attribute.attrelid = class.oid and not attribute.attisdropped
) as acl
left join pg_catalog.pg_roles as role on role.oid = acl.grantee
where class.oid = any(%(oids)s::oid[]) and (acl.grantee = 0 or role.oid is not null)
order by class.oid, acl.column_name, grantee, privilege
"""

# Every name comes from format(), quote_ident() or a function of the server's that prints SQL.
MORE = """
with this as (
    select class.oid, class.relkind, class.reltoastrelid,
        pg_catalog.format('%%I.%%I', space.nspname, class.relname) as name,
        case class.relkind when 'm' then 'materialized view' else 'view' end as kind
    from pg_catalog.pg_class as class
    join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
    where class.oid = any(%(oids)s::oid[])
),
part as (
    select this.*, attribute.attnum, attribute.attname,
        pg_catalog.to_jsonb(attribute) as its, attribute.attoptions, attribute.atthasdef,
        attribute.attstorage <> type.typstorage as stored_otherwise,
        pg_catalog.format('the column %%I', attribute.attname) as what
    from this
    join pg_catalog.pg_attribute as attribute
        on attribute.attrelid = this.oid and attribute.attnum > 0 and not attribute.attisdropped
    join pg_catalog.pg_type as type on type.oid = attribute.atttypid
),
index as (
    select this.oid, this.name as of_relation, this.kind, class.oid as id, class.relname,
        pg_catalog.format('%%I.%%I', space.nspname, class.relname) as name,
        place.spcname, index.indisclustered
    from this
    join pg_catalog.pg_index as index on index.indrelid = this.oid
    join pg_catalog.pg_class as class on class.oid = index.indexrelid
    join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
    left join pg_catalog.pg_tablespace as place on place.oid = class.reltablespace
),
statistic as (
    select this.oid, statistic.oid as id, pg_catalog.to_jsonb(statistic) as its,
        pg_catalog.format('%%I.%%I', space.nspname, statistic.stxname) as name
    from this
    join pg_catalog.pg_statistic_ext as statistic on statistic.stxrelid = this.oid
    join pg_catalog.pg_namespace as space on space.oid = statistic.stxnamespace
),
rule as (
    select this.*, rule.oid as id, rule.rulename
    from this
    join pg_catalog.pg_rewrite as rule on rule.ev_class = this.oid and rule.rulename <> '_RETURN'
),
trigger as (
    select this.*, trigger.oid as id, trigger.tgname
    from this
    join pg_catalog.pg_trigger as trigger on trigger.tgrelid = this.oid and not trigger.tgisinternal
)
select oid::bigint, place, what, sql from (
    select oid, 1 as place, what, pg_catalog.format(
        'alter %%s %%s alter column %%I set storage %%s', kind, name, attname,
        case its ->> 'attstorage'
            when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended'
        end
    ) as sql
    from part where relkind = 'm' and stored_otherwise
    union all
    select oid, 1, what, pg_catalog.format(
        'alter %%s %%s alter column %%I set compression %%s', kind, name, attname,
        case its ->> 'attcompression' when 'p' then 'pglz' else 'lz4' end
    )
    from part where relkind = 'm' and its ->> 'attcompression' in ('p', 'l')
    union all
    select oid, 1, what, pg_catalog.format(
        'alter %%s %%s alter column %%I set statistics %%s', kind, name, attname,
        its ->> 'attstattarget'
    )
    from part where relkind = 'm' and (its ->> 'attstattarget')::int >= 0
    union all
    select part.oid, 1, what, pg_catalog.format(
        'alter %%s %%s alter column %%I set (%%s)', kind, name, attname, options.texts
    )
    from part
    cross join lateral (
        select pg_catalog.string_agg(
            pg_catalog.format('%%I = %%L', option_name, option_value), ', '
        ) as texts
        from pg_catalog.pg_options_to_table(part.attoptions)
    ) as options
    where options.texts is not null
    union all
    select this.oid, 1, 'its storage parameters', pg_catalog.format(
        'alter %%s %%s set (%%s)', kind, name, options.texts
    )
    from this
    join pg_catalog.pg_class as toast on toast.oid = this.reltoastrelid
    cross join lateral (
        select pg_catalog.string_agg(
            pg_catalog.format('toast.%%I = %%L', option_name, option_value), ', '
        ) as texts
        from pg_catalog.pg_options_to_table(toast.reloptions)
    ) as options
    where options.texts is not null
    union all
    select part.oid, 2, what, pg_catalog.format(
        'alter view %%s alter column %%I set default %%s', name, attname,
        pg_catalog.pg_get_expr(defaults.adbin, defaults.adrelid)
    )
    from part
    join pg_catalog.pg_attrdef as defaults
        on defaults.adrelid = part.oid and defaults.adnum = part.attnum
    where part.relkind = 'v'
    union all
    select oid, 3, 'the index ' || name, pg_catalog.pg_get_indexdef(id) from index
    union all
    select oid, 4, 'the index ' || name,
        pg_catalog.format('alter index %%s set tablespace %%I', name, spcname)
    from index where spcname is not null
    union all
    select index.oid, 4, 'the index ' || name, pg_catalog.format(
        'alter index %%s alter column %%s set statistics %%s', name, attribute.attnum,
        pg_catalog.to_jsonb(attribute) ->> 'attstattarget'
    )
    from index
    join pg_catalog.pg_attribute as attribute on attribute.attrelid = index.id
    where (pg_catalog.to_jsonb(attribute) ->> 'attstattarget')::int >= 0
    union all
    select oid, 4, 'the index ' || name,
        pg_catalog.format('alter %%s %%s cluster on %%I', kind, of_relation, relname)
    from index where indisclustered
    union all
    select oid, 5, 'the statistics ' || name, pg_catalog.pg_get_statisticsobjdef(id) from statistic
    union all
    select oid, 6, 'the statistics ' || name, pg_catalog.format(
        'alter statistics %%s set statistics %%s', name, its ->> 'stxstattarget'
    )
    from statistic where (its ->> 'stxstattarget')::int >= 0
    union all
    select oid, 7, pg_catalog.format('the rule %%I', rulename), pg_catalog.pg_get_ruledef(id)
    from rule
    union all
    select oid, 7, pg_catalog.format('the trigger %%I', tgname), pg_catalog.pg_get_triggerdef(id)
    from trigger
    union all
    select this.oid, 8, 'its comment', pg_catalog.format(
        'comment on %%s %%s is %%L', kind, name, pg_catalog.obj_description(this.oid, 'pg_class')
    )
    from this where pg_catalog.obj_description(this.oid, 'pg_class') is not null
    union all
    select oid, 8, 'the comment on ' || what, pg_catalog.format(
        'comment on column %%s.%%I is %%L', name, attname,
        pg_catalog.col_description(oid, attnum)
    )
    from part where pg_catalog.col_description(oid, attnum) is not null
    union all
    select oid, 8, 'the comment on the index ' || name, pg_catalog.format(
        'comment on index %%s is %%L', name, pg_catalog.obj_description(id, 'pg_class')
    )
    from index where pg_catalog.obj_description(id, 'pg_class') is not null
    union all
    select oid, 8, 'the comment on the statistics ' || name, pg_catalog.format(
        'comment on statistics %%s is %%L', name,
        pg_catalog.obj_description(id, 'pg_statistic_ext')
    )
    from statistic where pg_catalog.obj_description(id, 'pg_statistic_ext') is not null
    union all
    select oid, 8, pg_catalog.format('the comment on the rule %%I', rulename), pg_catalog.format(
        'comment on rule %%I on %%s is %%L', rulename, name,
        pg_catalog.obj_description(id, 'pg_rewrite')
    )
    from rule where pg_catalog.obj_description(id, 'pg_rewrite') is not null
    union all
    select oid, 8, pg_catalog.format('the comment on the trigger %%I', tgname), pg_catalog.format(
        'comment on trigger %%I on %%s is %%L', tgname, name,
        pg_catalog.obj_description(id, 'pg_trigger')
    )
    from trigger where pg_catalog.obj_description(id, 'pg_trigger') is not null
    union all
    select this.oid, 8, 'its security label', pg_catalog.format(
        'security label for %%I on %%s %%s is %%L', label.provider, kind, name, label.label
    )
    from this
    join pg_catalog.pg_seclabel as label
        on label.classoid = 'pg_catalog.pg_class'::regclass and label.objoid = this.oid
        and label.objsubid = 0
) as found
order by oid, place, what
"""
