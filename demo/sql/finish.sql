-- Copyright: (c) 2026, the lastgood.rollback authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
-- Keys, indexes and all else that is faster once the rows are there.

ALTER TABLE post ADD PRIMARY KEY (id);
ALTER TABLE post ADD UNIQUE (slug);
ALTER TABLE post_section ADD PRIMARY KEY (id);
ALTER TABLE post_section ADD UNIQUE (post_id, position);
ALTER TABLE post_section ADD FOREIGN KEY (post_id) REFERENCES post (id);
ALTER TABLE post_development ADD PRIMARY KEY (post_id);
ALTER TABLE post_development ADD FOREIGN KEY (post_id) REFERENCES post (id);
CREATE INDEX post_by_status ON post (status, created_at DESC);
CREATE INDEX post_development_by_stage ON post_development (stage, post_id);

CREATE VIEW post_overview AS
SELECT p.id, p.title, p.status, d.stage, (SELECT count(*) FROM post_section s WHERE s.post_id = p.id) AS sections
FROM post p JOIN post_development d ON d.post_id = p.id;

CREATE FUNCTION touch_post() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER post_touched BEFORE UPDATE ON post FOR EACH ROW EXECUTE FUNCTION touch_post();

SELECT setval(pg_get_serial_sequence('post', 'id'), max(id)), setval('issue_number_seq', max(issue_number)) FROM post;
VACUUM ANALYZE;
