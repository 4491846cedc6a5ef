-- The tables that the planted statements are checked against. They stay as they are when the service's tables change.
CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text,
    password_hash text,
    issuer        text,
    subject       text
);
CREATE UNIQUE INDEX users_email_key ON users (email) WHERE password_hash IS NOT NULL;
CREATE UNIQUE INDEX users_issuer_subject_key ON users (issuer, subject);

CREATE TABLE tasks (
    user_id      uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    title        text        NOT NULL,
    description  text,
    is_completed boolean     NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (user_id, id)
);
CREATE INDEX tasks_newest_first ON tasks (user_id, created_at DESC, id DESC);

CREATE TABLE task_counters (
    user_id    uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    task_count bigint NOT NULL
);
