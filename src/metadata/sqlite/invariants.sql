-- What breaks the invariants, one line each. Reads everything, in one snapshot.
WITH RECURSIVE
names AS MATERIALIZED (
    SELECT child_id, count(*) AS names FROM parent_child_map GROUP BY child_id
),
reached(id) AS (
    SELECT root FROM shares
    UNION
    SELECT e.child_id FROM reached r CROSS JOIN parent_child_map e ON e.parent_id = r.id
),
entries AS (
    SELECT CAST(e.child_name AS TEXT) AS name, lower(hex(e.parent_id)) AS parent, lower(hex(e.child_id)) AS child,
           e.cookie, p.share_id AS parent_share, p.file_type AS parent_type, c.share_id AS child_share,
           c.file_type AS child_type, c.parent_id AS up, e.parent_id
      FROM parent_child_map e LEFT JOIN files p ON p.id = e.parent_id LEFT JOIN files c ON c.id = e.child_id
),
subdirectories AS MATERIALIZED (
    SELECT parent_id, count(*) AS present FROM entries WHERE child_type = 2 GROUP BY parent_id
),
objects AS (
    SELECT f.*, lower(hex(f.id)) AS name, s.root, n.names, l.link_count
      FROM files f LEFT JOIN shares s ON s.id = f.share_id LEFT JOIN names n ON n.child_id = f.id
      LEFT JOIN link_counts l ON l.file_id = f.id
)
SELECT format('the entry %s of %s names %s, which is not there', name, parent, child)
  FROM entries WHERE child_type IS NULL
UNION ALL
SELECT format('the entry %s lies in %s, which is no directory', name, parent)
  FROM entries WHERE parent_type IS NOT 2
UNION ALL
SELECT format('the entry %s of %s leads to another share', name, parent)
  FROM entries WHERE parent_share <> child_share
UNION ALL
SELECT format('the entry %s of %s has cookie %d', name, parent, cookie)
  FROM entries WHERE cookie < 3 OR cookie >= (SELECT next FROM sequences WHERE name = 'cookies')
UNION ALL
SELECT format('the entry %s of %s has a name that none can have', hex(child_name), lower(hex(parent_id)))
  FROM parent_child_map
 WHERE instr(child_name, x'2f') > 0 OR instr(child_name, x'00') > 0 OR child_name IN (x'2e', x'2e2e')
UNION ALL
SELECT format('directory %s has another parent than %s, where its entry lies', child, parent)
  FROM entries WHERE child_type = 2 AND up IS NOT parent_id
UNION ALL
SELECT format('%s has no name', name) FROM objects WHERE names IS NULL AND id IS NOT root
UNION ALL
SELECT format('%s counts %d of %d names', name, COALESCE(link_count, 1), names)
  FROM objects WHERE file_type <> 2 AND COALESCE(link_count, 1) <> names
UNION ALL
SELECT format('the link count of %s, which is no file', lower(hex(l.file_id)))
  FROM link_counts l LEFT JOIN files f ON f.id = l.file_id AND f.file_type <> 2 WHERE f.id IS NULL
UNION ALL
SELECT format('directory %s has %d names', name, names) FROM objects WHERE file_type = 2 AND names > 1
UNION ALL
SELECT format('directory %s counts %d of %d subdirectories', o.name, o.subdirs, COALESCE(s.present, 0))
  FROM objects o LEFT JOIN subdirectories s ON s.parent_id = o.id
 WHERE o.subdirs <> CASE WHEN o.file_type = 2 THEN COALESCE(s.present, 0) ELSE 0 END
UNION ALL
SELECT format('directory %s cannot be reached from a root', name)
  FROM objects WHERE file_type = 2 AND id NOT IN (SELECT id FROM reached)
UNION ALL
SELECT format('share %s has no root', s.name)
  FROM shares s LEFT JOIN files r ON r.id = s.root AND r.file_type = 2 AND r.parent_id = r.id AND r.share_id = s.id
 WHERE r.id IS NULL
UNION ALL
SELECT format('the root of share %s has a name', s.name) FROM shares s JOIN names n ON n.child_id = s.root
UNION ALL
SELECT format('%s belongs to no share', name) FROM objects WHERE root IS NULL
UNION ALL
SELECT format('fileid %d belongs to %d objects of one share', fileid, count(*))
  FROM files GROUP BY share_id, fileid HAVING count(*) > 1
UNION ALL
SELECT format('%s has fileid %d', name, fileid)
  FROM objects WHERE fileid <= 0 OR fileid >= (SELECT next FROM sequences WHERE name = 'fileids')
UNION ALL
SELECT format('%s has mode %d', name, mode) FROM objects WHERE mode & ~4095 <> 0
UNION ALL
SELECT format('%s is as long as its target is not', name)
  FROM objects WHERE file_type = 5 AND size <> length(link_target)
UNION ALL
SELECT format('%s of %d bytes takes %d', f.name, f.size, f.used)
  FROM objects f
 WHERE CASE f.file_type WHEN 1 THEN f.used > CASE WHEN f.size > 9223372036854771712 THEN 9223372036854775807 ELSE (f.size + 4095) / 4096 * 4096 END
                        WHEN 5 THEN f.used <> length(f.link_target) ELSE f.used <> f.size END
UNION ALL
SELECT format('%s has the verifier of an exclusive create and is no file', name)
  FROM objects WHERE create_verifier IS NOT NULL AND file_type <> 1
