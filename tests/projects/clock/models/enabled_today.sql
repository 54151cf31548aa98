{{ config(enabled=modules.datetime.date.today().year < 9999, meta={'on': modules.datetime.datetime.now().day}) }}
select 1 as x
