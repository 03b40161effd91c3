-- Copyright: (c) 2026, the lastgood.rollback authors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
-- Posts with sections and a development each. Always the same rows: they depend on nothing but their number.
-- psql variable: posts (how many).

\set topics '''{sourdough,small gardens,night trains,home repair,film cameras,wild swimming,old maps,beekeeping,letter writing,city birds,slow travel,tea,bookbinding,winter hiking,radio}''::text[]'
\set places '''{Lisbon,Bergen,Kraków,Galway,Trieste,Utrecht,Ghent,Tartu,Bilbao,Graz,Aarhus,Tromsø,Leipzig}''::text[]'
\set adjectives '''{short,patient,practical,honest,curious,quiet,thorough,friendly,stubborn}''::text[]'
\set people '''{a baker,two sisters,our neighbour,a retired pilot,the librarian,a carpenter,three students}''::text[]'
\set verbs '''{learned,forgot,wrote down,argued about,paid for,was proud of,never told anyone}''::text[]'
\set things '''{how to begin,which tools to buy,where the time goes,why the first try fails,when to stop,what it really costs}''::text[]'
\set headings '''{Why it matters,Before you start,The first hour,What went wrong,A better way,What it costs}''::text[]'
\set stages '''{planning,writing,structuring,images,publishing,published,published,published}''::text[]'

CREATE FUNCTION pg_temp.pick(words text[], seed bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT words[1 + (hashint8(seed)::bigint + 2147483648) % cardinality(words)] $$;

CREATE FUNCTION pg_temp.moment(number bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2019-03-01 06:00:00+00' + number * interval '37 minutes' $$;

INSERT INTO post (id, title, slug, summary, status, issue_number, created_at, updated_at)
SELECT i,
       format('A %s guide to %s in %s', adjective, topic, place),
       format('%s-%s-%s', replace(topic, ' ', '-'), lower(place), i),
       format('What %s %s: %s, with %s, in %s.', pg_temp.pick(:people, i * 11), pg_temp.pick(:verbs, i * 13),
              pg_temp.pick(:things, i * 17), topic, place),
       CASE WHEN i % 20 = 0 THEN 'archived' WHEN i % 7 = 0 THEN 'draft' ELSE 'published' END,
       i, pg_temp.moment(i), pg_temp.moment(i + 90)
FROM (
    SELECT i, pg_temp.pick(:topics, i * 3) AS topic, pg_temp.pick(:places, i * 5) AS place,
           pg_temp.pick(:adjectives, i * 7) AS adjective
    FROM generate_series(1, :posts) AS i
) AS words;

INSERT INTO post_section (post_id, position, heading, body)
SELECT i, s, pg_temp.pick(:headings, i + s),
       format('In %s, %s %s %s. ', pg_temp.pick(:places, i * 5), pg_temp.pick(:people, i * 19 + s),
              pg_temp.pick(:verbs, i * 23 + s), pg_temp.pick(:things, i * 29 + s))
       || format('It took %s days, and %s helped. ', 2 + (i * s) % 40, pg_temp.pick(:people, i * 31 + s))
       || format('The rest of this part is about %s, and about %s.', pg_temp.pick(:topics, i * 3),
                 pg_temp.pick(:things, i * 37 + s))
FROM generate_series(1, :posts) AS i, generate_series(1, 2 + i % 3) AS s;

INSERT INTO post_development (post_id, stage, idea, notes, updated_at)
SELECT i, pg_temp.pick(:stages, i * 41), format('Ask %s about %s', pg_temp.pick(:people, i * 43), pg_temp.pick(:topics, i * 3)),
       jsonb_build_object('reviews', i % 5, 'images', i % 9), pg_temp.moment(i + 60)
FROM generate_series(1, :posts) AS i;
