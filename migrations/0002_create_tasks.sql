-- Why:    Tasks. The key starts with the owner, and so does every index: a statement that names the owner first reads
--         one short range, and the table can be spread over machines by user_id.
-- Phase:  before the code that needs it.
-- Locks:  SHARE ROW EXCLUSIVE on users for the moment in which the foreign key is made; tasks is new.
-- Undo:   0002_create_tasks.rollback.sql. It drops every task.
-- depends: 0001_create_users

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- The limits are the wider of the two contracts: 255 characters of a title (January), 2000 of a description (February).
-- The long literals are the white space that Python's str.strip() takes away, so that both sides agree on "trimmed".
CREATE TABLE tasks (
    user_id      uuid        NOT NULL,
    id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    title        text        NOT NULL,
    description  text,
    is_completed boolean     NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT tasks_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT tasks_title_length CHECK (char_length(title) BETWEEN 1 AND 255),
    CONSTRAINT tasks_title_trimmed CHECK (
        title = btrim(title, E' \t\n\x0b\f\r\x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
    ),
    CONSTRAINT tasks_description_length CHECK (char_length(description) BETWEEN 1 AND 2000),
    CONSTRAINT tasks_description_trimmed CHECK (
        description = btrim(description, E' \t\n\x0b\f\r\x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
    )
);

-- The list, newest first. The id makes the order total.
CREATE INDEX tasks_newest_first ON tasks (user_id, created_at DESC, id DESC);
