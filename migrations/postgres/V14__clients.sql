-- How many clients each server has, for `trunkfs servers`: nothing is decided by it. NULL: a tool, or a server of an older version.
ALTER TABLE instances ADD COLUMN clients integer;
