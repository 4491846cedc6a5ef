SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30s';

-- No row is read: every row fulfils the same rules already.
ALTER TABLE tasks ALTER COLUMN title TYPE text;
ALTER TABLE tasks ALTER COLUMN description TYPE text;
ALTER TABLE tasks ALTER COLUMN due_on TYPE date;
ALTER TABLE tasks ALTER COLUMN due_time TYPE time;
-- squawk-ignore prefer-bigint-over-smallint
ALTER TABLE tasks ALTER COLUMN priority TYPE smallint;
ALTER TABLE tasks ALTER COLUMN tags TYPE jsonb;
DROP DOMAIN task_title;
DROP DOMAIN task_description;
DROP DOMAIN task_due_on;
DROP DOMAIN task_due_time;
DROP DOMAIN task_priority;
DROP DOMAIN task_tags;

ALTER TABLE tasks ADD CONSTRAINT tasks_title_length CHECK (char_length(title) BETWEEN 1 AND 255) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_title_trimmed CHECK (
    title = btrim(title, E' \t\n\x0b\f\r\x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_description_length CHECK (char_length(description) BETWEEN 1 AND 2000) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_description_trimmed CHECK (
    description = btrim(description, E' \t\n\x0b\f\r\x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_due_on_years CHECK (due_on BETWEEN '1900-01-01' AND '2999-12-31') NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_due_time_whole_minutes CHECK (
    due_time < '24:00' AND extract(SECOND FROM due_time) = 0
) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_priority_known CHECK (priority BETWEEN 0 AND 3) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_tags_list CHECK (
    CASE WHEN jsonb_typeof(tags) = 'array' THEN jsonb_array_length(tags) <= 20 ELSE FALSE END
) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_tags_texts CHECK (
    NOT tags @? 'strict $[*] ? (@.type() != "string" || !(@ like_regex "^.{1,50}$" flag "s"))'
) NOT VALID;
ALTER TABLE tasks ADD CONSTRAINT tasks_tags_trimmed CHECK (
    NOT tags @? 'strict $[*] ? (@ like_regex "^[ \t\n\u000b\f\r\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]|[ \t\n\u000b\f\r\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$")'
) NOT VALID;
