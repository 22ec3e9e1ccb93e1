//! Whether the role may do what the server does, looked at once when the store opens: a grant that is missing
//! is named there, before a client meets it. TRUNCATE, which two tables are emptied by, is not asked for: the
//! server does without.

use tokio_postgres::Client;

use super::error::PostgresError;
use super::server_check::{ask, refuse};

/// The role, the schema where tables are looked for (empty where the role may use none), and its search path.
const PLACE: &str = "
    SELECT quote_ident(current_user), coalesce(quote_ident(current_schema()), ''), current_setting('search_path')";

/// What of the schema the role may not use, and the statements that let it. Other things in the same
/// PostgreSQL schema do not count. Nothing is missing where there are no tables yet.
const LACKING: &str = "
    WITH place AS (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname = current_schema()),
    lacking (kind, name, remedy) AS (
        SELECT 'table', relname::text, 'SELECT, INSERT, UPDATE, DELETE ON ALL TABLES'
          FROM pg_catalog.pg_class WHERE relnamespace = (SELECT oid FROM place) AND relkind = 'r'
           AND relname IN ('shares', 'filesystem_capabilities', 'server_config', 'files', 'parent_child_map', 'link_counts',
                           'writer_slots', 'writers', 'instances', 'lease', 'changes', 'change_log', 'lock_clients', 'locks', 'lock_waiters',
                           'lock_shares', 'replies')
           AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                    AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
        UNION ALL
        SELECT 'table', relname::text, 'SELECT ON ALL TABLES'
          FROM pg_catalog.pg_class WHERE relnamespace = (SELECT oid FROM place) AND relkind = 'r'
           AND relname = 'refinery_schema_history' AND NOT has_table_privilege(oid, 'SELECT')
        UNION ALL
        SELECT 'sequence', relname::text, 'USAGE ON ALL SEQUENCES'
          FROM pg_catalog.pg_class WHERE relnamespace = (SELECT oid FROM place) AND relkind = 'S'
           AND relname IN ('fileids', 'cookies', 'share_ids', 'writer_epochs') AND NOT has_sequence_privilege(oid, 'USAGE')
        UNION ALL
        SELECT 'function', proname::text, 'EXECUTE ON ALL FUNCTIONS'
          FROM pg_catalog.pg_proc WHERE pronamespace = (SELECT oid FROM place)
           AND proowner = (SELECT relowner FROM pg_catalog.pg_class WHERE relnamespace = (SELECT oid FROM place)
                                                                      AND relname = 'refinery_schema_history')
           AND NOT has_function_privilege(oid, 'EXECUTE'))
    SELECT (SELECT kind || ' ' || name FROM lacking ORDER BY kind DESC, name LIMIT 1), count(*),
           string_agg(DISTINCT format('GRANT %s IN SCHEMA %I TO %I', remedy, (SELECT nspname FROM place), current_user), '; ')
               FILTER (WHERE remedy <> 'SELECT ON ALL TABLES'
                          OR NOT EXISTS (SELECT FROM lacking WHERE remedy LIKE 'SELECT, INSERT%'))
      FROM lacking";

/// Refuses a role that may use no schema, or not all that the server needs in it.
pub(super) async fn check(client: &Client) -> Result<(), PostgresError> {
    check_schema(client).await?;
    let columns = ask(client, LACKING).await?;
    let [first, count, remedy] = columns.as_slice() else { return Ok(()) };
    if first.is_empty() {
        return Ok(());
    }
    let others = match count.as_str() {
        "1" => String::new(),
        count => format!(" ({count} objects in all)"),
    };
    Err(refuse(format!(
        "permission denied: the role lacks privileges on the {first}{others}; as the owner of the tables \
         run: {remedy}"
    )))
}

/// Refuses a role that has no schema to look for tables in: whatever is there, it would seem to be empty.
pub(super) async fn check_schema(client: &Client) -> Result<(), PostgresError> {
    let columns = ask(client, PLACE).await?;
    let [role, schema, path] = columns.as_slice() else { return Ok(()) };
    if !schema.is_empty() {
        return Ok(());
    }
    Err(refuse(format!(
        "the role {role} has no USAGE privilege on any schema of its search_path ({path}); create the \
         schema, or as its owner run: GRANT USAGE ON SCHEMA public TO {role}"
    )))
}
