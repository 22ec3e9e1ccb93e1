-- How many clients each server has is not known any more (`trunkfs servers`). No data is lost.
ALTER TABLE instances DROP COLUMN clients;
