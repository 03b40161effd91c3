-- Copyright: (c) 2026, the lastgood.rollback authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
-- What happened to the database after the restore point was made.

-- First, people went on writing. Going back discards these posts: the plan must say so.
BEGIN;
WITH written AS (
    INSERT INTO post (title, slug, summary, status)
    SELECT format('News of the day, part %s', i), format('news-%s', i), 'Written after the restore point.', 'published'
    FROM generate_series(1, 250) AS i
    RETURNING id
), developed AS (
    INSERT INTO post_development (post_id, stage, idea) SELECT id, 'published', 'Report what happened' FROM written
)
INSERT INTO post_section (post_id, position, heading, body)
SELECT id, s, 'What happened', 'Something new, and nobody has a copy of it.' FROM written, generate_series(1, 2) AS s;
COMMIT;

-- Then a migration went wrong: it lost the order of the sections and cut the summaries short.
BEGIN;
ALTER TABLE post_section DROP COLUMN position;
ALTER TABLE post_section ADD COLUMN rank text NOT NULL DEFAULT 'unsorted';
ALTER TABLE post ALTER COLUMN summary TYPE varchar(40) USING left(summary, 40);
UPDATE alembic_version SET version_num = '0007_section_ranks';
COMMIT;

-- And the script that should have filled the new column damaged a third of the sections, and deleted some.
BEGIN;
UPDATE post_section SET body = md5(body), heading = '' WHERE id % 3 = 0;
DELETE FROM post_section WHERE id % 97 = 1;
COMMIT;
