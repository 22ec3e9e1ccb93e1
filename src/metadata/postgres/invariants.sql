-- What breaks the invariants, one line each. Reads everything, in one snapshot.
WITH RECURSIVE
names AS (
    SELECT e.child_id, count(*) AS names FROM parent_child_map e GROUP BY e.child_id
),
reached(id) AS (
    SELECT s.root FROM shares s
    UNION
    SELECT f.id FROM reached r JOIN files f ON f.parent_id = r.id
),
counted AS (
    SELECT share_id, count(*) AS objects, COALESCE(sum(used) FILTER (WHERE file_type IN (1, 5)), 0) AS bytes
      FROM files GROUP BY share_id
),
kept AS (
    SELECT share_id, sum(files) AS objects, sum(bytes) AS bytes FROM writer_slots GROUP BY share_id
)
SELECT format('the entry %s of %s names %s, which is not there', encode(e.child_name, 'escape'), e.parent_id, e.child_id)
  FROM parent_child_map e LEFT JOIN files c ON c.id = e.child_id WHERE c.id IS NULL
UNION ALL
SELECT format('the entry %s lies in %s, which is no directory', encode(e.child_name, 'escape'), e.parent_id)
  FROM parent_child_map e LEFT JOIN files d ON d.id = e.parent_id AND d.file_type = 2 WHERE d.id IS NULL
UNION ALL
SELECT format('the entry %s of %s leads to another share', encode(e.child_name, 'escape'), e.parent_id)
  -- OFFSET 0: a join of all objects with those of other shares is not to come first.
  FROM (SELECT e.*, d.share_id FROM parent_child_map e JOIN files d ON d.id = e.parent_id OFFSET 0) e
  JOIN files c ON c.id = e.child_id
 WHERE e.share_id <> c.share_id
UNION ALL
SELECT format('the entry %s of %s has cookie %s', encode(e.child_name, 'escape'), e.parent_id, e.cookie)
  FROM parent_child_map e WHERE e.cookie < 3
UNION ALL
SELECT format('the entry %s of %s has the cookie %s, which was not given out', encode(e.child_name, 'escape'), e.parent_id, e.cookie)
  FROM parent_child_map e WHERE e.cookie > COALESCE(pg_sequence_last_value('cookies'), 0)
UNION ALL
SELECT format('the entry %s of %s has a name that none can have', encode(e.child_name, 'escape'), e.parent_id)
  FROM parent_child_map e
 WHERE position('/'::bytea IN e.child_name) > 0 OR position('\x00'::bytea IN e.child_name) > 0 OR e.child_name IN ('.', '..')
UNION ALL
SELECT format('%s has no name', f.id)
  FROM files f LEFT JOIN names n ON n.child_id = f.id
 WHERE n.names IS NULL AND f.id NOT IN (SELECT s.root FROM shares s)
UNION ALL
SELECT format('%s counts %s of %s names', f.id, COALESCE(l.link_count, 1), n.names)
  FROM files f JOIN names n ON n.child_id = f.id LEFT JOIN link_counts l ON l.file_id = f.id
 WHERE f.file_type <> 2 AND COALESCE(l.link_count, 1) <> n.names
UNION ALL
SELECT format('the link count of %s, which is no file', l.file_id)
  FROM link_counts l LEFT JOIN files f ON f.id = l.file_id AND f.file_type <> 2 WHERE f.id IS NULL
UNION ALL
SELECT format('directory %s has %s names', f.id, n.names)
  FROM files f JOIN names n ON n.child_id = f.id WHERE f.file_type = 2 AND n.names > 1
UNION ALL
SELECT format('directory %s has the parent %s, its entry lies in %s', f.id, f.parent_id, e.parent_id)
  FROM files f JOIN parent_child_map e ON e.child_id = f.id
 WHERE f.file_type = 2 AND f.parent_id IS DISTINCT FROM e.parent_id
UNION ALL
SELECT format('directory %s counts %s of %s subdirectories', x.id, x.subdirs, x.present)
  FROM (SELECT d.id, d.subdirs, count(c.id) AS present
          FROM files d LEFT JOIN parent_child_map e ON e.parent_id = d.id
          LEFT JOIN files c ON c.id = e.child_id AND c.file_type = 2
         WHERE d.file_type = 2 GROUP BY d.id, d.subdirs) x
 WHERE x.subdirs <> x.present
UNION ALL
SELECT format('directory %s cannot be reached from a root', f.id)
  FROM files f WHERE f.file_type = 2 AND f.id NOT IN (SELECT r.id FROM reached r)
UNION ALL
SELECT format('share %s has no root', s.name)
  FROM shares s LEFT JOIN files r ON r.id = s.root AND r.file_type = 2 AND r.parent_id = r.id AND r.share_id = s.id
 WHERE r.id IS NULL
UNION ALL
SELECT format('the root of share %s has a name', s.name)
  FROM shares s JOIN names n ON n.child_id = s.root
UNION ALL
SELECT format('%s belongs to no share', f.id)
  FROM files f LEFT JOIN shares s ON s.id = f.share_id WHERE s.id IS NULL
UNION ALL
SELECT format('fileid %s belongs to %s objects of one share', f.fileid, count(*))
  FROM files f GROUP BY f.share_id, f.fileid HAVING count(*) > 1
UNION ALL
SELECT format('%s has fileid %s', f.id, f.fileid) FROM files f WHERE f.fileid <= 0
UNION ALL
SELECT format('%s has fileid %s, which was not given out', f.id, f.fileid)
  FROM files f WHERE f.fileid > COALESCE(pg_sequence_last_value('fileids'), 0)
UNION ALL
SELECT format('%s has mode %s', f.id, f.mode) FROM files f WHERE f.mode & ~4095 <> 0
UNION ALL
SELECT format('%s is as long as its target is not', f.id) FROM files f
 WHERE f.file_type = 5 AND f.size <> length(f.link_target)
UNION ALL
SELECT format('%s of %s bytes takes %s', f.id, f.size, f.used) FROM files f
 WHERE CASE f.file_type WHEN 1 THEN f.used > most_used(f.size) WHEN 5 THEN f.used <> length(f.link_target)
                        ELSE f.used <> f.size END
UNION ALL
SELECT format('%s has the verifier of an exclusive create and is no file', f.id) FROM files f
 WHERE f.create_verifier IS NOT NULL AND f.file_type <> 1
UNION ALL
SELECT format('share %s counts %s objects and %s bytes of %s and %s', s.name, k.objects, k.bytes, c.objects, c.bytes)
  FROM shares s LEFT JOIN kept k ON k.share_id = s.id LEFT JOIN counted c ON c.share_id = s.id
 WHERE k.objects IS DISTINCT FROM c.objects OR k.bytes IS DISTINCT FROM c.bytes
ORDER BY 1
