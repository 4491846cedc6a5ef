-- Two roles, so that the service that runs can do no more than its statements need:
--
--   todo_owner    owns the tables; python -m service migrate runs as it (DATABASE_DIRECT_URL)
--   todo_runtime  reads and writes rows; the service runs as it (DATABASE_URL)
--
-- An administrator runs this in the database of the service, before or after the first migration, and may run it again:
--
--   psql DATABASE -v ON_ERROR_STOP=1 -f sql/roles.sql
--
-- Then each role is given a password (\password todo_owner), and `migrate` grants todo_runtime what it needs on each
-- table (migrations/post-apply.sql). Roles belong to the whole server: databases on it share them.

DO $$
BEGIN
    IF to_regrole('todo_owner') IS NULL THEN
        CREATE ROLE todo_owner LOGIN;
    END IF;
    IF to_regrole('todo_runtime') IS NULL THEN
        CREATE ROLE todo_runtime LOGIN;
    END IF;
END
$$;

-- Privileges on the database and its schema. TEMPORARY is one that every role has unless it is taken from PUBLIC.
-- Members of pg_monitor see the server's statistics, those of extensions in the schema public too, and no row of a
-- table here.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO todo_owner, todo_runtime, pg_monitor', current_database());
END
$$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO todo_owner;
GRANT USAGE ON SCHEMA public TO todo_runtime, pg_monitor;

-- Tables and domains that another role has made before the roles were there. Who gives them away has to be a member.
GRANT todo_owner TO CURRENT_USER;
DO $$
DECLARE
    made_before regclass;
    domain_made_before regtype;
BEGIN
    FOREACH made_before IN ARRAY ARRAY[
        to_regclass('public.users'), to_regclass('public.tasks'), to_regclass('public.task_counters'),
        to_regclass('public.deleted_tasks'), to_regclass('public.histories'), to_regclass('public.attempts'),
        to_regclass('public.deleted_outside_users'), to_regclass('public.idempotency_keys'),
        to_regclass('public.migration_checksums'), to_regclass('public._yoyo_migration'), to_regclass('public._yoyo_log'),
        to_regclass('public._yoyo_version'), to_regclass('public.yoyo_lock')
    ] LOOP
        IF made_before IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s OWNER TO todo_owner', made_before);
        END IF;
    END LOOP;
    FOREACH domain_made_before IN ARRAY ARRAY[
        to_regtype('public.task_title'), to_regtype('public.task_description'), to_regtype('public.task_due_on'),
        to_regtype('public.task_due_time'), to_regtype('public.task_time_zone'), to_regtype('public.task_priority'),
        to_regtype('public.task_tags'), to_regtype('public.task_count')
    ] LOOP
        IF domain_made_before IS NOT NULL THEN
            EXECUTE format('ALTER DOMAIN %s OWNER TO todo_owner', domain_made_before);
        END IF;
    END LOOP;
END
$$;

-- The service gives up a statement after STATEMENT_TIMEOUT (5 s) and cancels it. These are for what it cannot cancel
-- any more, and reach through any pooler, because they belong to the role.
ALTER ROLE todo_runtime SET statement_timeout = '10s';
-- A request that meets a lock gives its connection back after that, and is sent again until STATEMENT_TIMEOUT is over.
ALTER ROLE todo_runtime SET lock_timeout = '100ms';
ALTER ROLE todo_runtime SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE todo_runtime SET search_path = public;

-- Parameters are titles, descriptions and hashes: they do not belong into the server's log. Only a superuser, or who
-- was given SET on the parameter, may say so; a provider that gives neither has to be asked for it.
DO $$
BEGIN
    ALTER ROLE todo_runtime SET log_parameter_max_length = 0;
    -- Up to version 15, auto_explain prints no parameters and has no such setting.
    IF current_setting('server_version_num')::integer >= 160000 THEN
        ALTER ROLE todo_runtime SET auto_explain.log_parameter_max_length = 0;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'log_parameter_max_length was not set on todo_runtime: %', sqlerrm;
END
$$;
