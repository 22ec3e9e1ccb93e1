//! The status page: HTML as it is, of one piece, with nothing that is loaded from elsewhere. Without scripts
//! it is loaded anew by the browser; with them its content is replaced.

mod chart;
mod html;
mod locks;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use self::chart::{Series, chart};
use self::html::{Escaped, bytes, milliseconds, number, span};
use super::api::{self, Client, Now, Slow};
use super::health::{PartHealth, is_ready};
use super::history::{History, Point};
use super::subject::{About, JobState, MaintenanceState, ShareState, Subject};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");
/// Clients and slow calls that the page shows; the API has all of them.
const MOST_ROWS: usize = 20;

/// What the page may load and run (Content Security Policy Level 3): its own style and script, and itself.
pub(super) fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The page now.
pub(super) fn page(
    subject: &dyn Subject,
    health: Vec<PartHealth>,
    shares: &[ShareState],
    history: &History,
) -> String {
    let about = subject.about();
    let ready = is_ready(&health);
    let state = if ready { "ready" } else { "not ready" };
    let title = format!("TrunkFS {}: {state}", about.nfs);
    let points = history.points();
    let clients = api::clients(subject, history);
    let slow = api::slow_calls(subject.slow());
    let main = [
        head(&about, ready),
        parts(&health),
        charts(&points),
        share_table(shares),
        client_table(&clients),
        locks::section_of(subject.locks().as_ref()),
        slow_table(&slow),
        job_table(&subject.maintenance()),
        configuration(&about),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\
         <link rel=\"icon\" href=\"data:,\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><main data-title=\"{title}\">{main}</main><script>{SCRIPT}</script></body></html>\n",
        title = Escaped(&title),
    )
}

fn since(then: SystemTime) -> String {
    span(SystemTime::now().duration_since(then).unwrap_or_default())
}

fn head(about: &About, ready: bool) -> String {
    let (class, word) = if ready { ("good", "ready") } else { ("bad", "not ready") };
    format!(
        "<header><h1>TrunkFS</h1><span id=\"state\" class=\"{class}\">{word}</span>\
         <span>NFS on {}</span><span class=\"soft\">up {}</span>\
         <span class=\"soft\">version {} ({})</span></header>\n",
        about.nfs,
        since(about.started),
        Escaped(about.version),
        Escaped(about.commit)
    )
}

fn parts(health: &[PartHealth]) -> String {
    let rows: String = health
        .iter()
        .map(|part| {
            let (class, word) = if part.ok { ("good", "works") } else { ("bad", "fails") };
            let why = match &part.error {
                Some(error) => Escaped(error).to_string(),
                None => format!("answered in {}", milliseconds(part.took_ms)),
            };
            format!(
                "<tr><td class=\"{class}\">{word}</td><td class=\"fit\">{}</td><td class=\"fit\">{}</td>\
                 <td class=\"why\">{why}</td><td>{}</td></tr>",
                Escaped(&part.name),
                since(part.since),
                Escaped(part.kind)
            )
        })
        .collect();
    section("Health", &table("<th></th><th>part</th><th>for</th><th></th><th>type</th>", &rows))
}

fn charts(points: &[Point]) -> String {
    let now = points.last();
    let title = |name: &str, unit: &str, value: Option<String>| {
        let value = value.unwrap_or_else(|| "–".to_owned());
        format!("<h2>{name} <span class=\"soft\">{value}{unit}</span></h2>")
    };
    let one = |class, name, value: fn(&Point) -> Option<f64>| Series { class, name, value };
    let calls = [
        one("one", "calls", |point| Some(point.calls_per_second)),
        one("two", "failures", |point| Some(point.failures_per_second)),
    ];
    let moved = [
        one("one", "read", |point| Some(point.read_bytes_per_second)),
        one("two", "written", |point| Some(point.written_bytes_per_second)),
    ];
    let times = [
        one("one", "half of the calls", |point| point.median_ms),
        one("two", "99 of 100", |point| point.p99_ms),
    ];
    let moved_now = now.map(|it| bytes(it.read_bytes_per_second + it.written_bytes_per_second));
    let times_now = now.and_then(|it| it.p99_ms).map(milliseconds);
    let charts = [
        title("Calls", "/s", now.map(|it| number(it.calls_per_second)))
            + &chart(points, &calls, number),
        title("Bytes", "/s", moved_now) + &chart(points, &moved, bytes),
        title("Latency", "", times_now) + &chart(points, &times, milliseconds),
    ];
    let charts: String = charts.iter().map(|it| format!("<section>{it}</section>")).collect();
    format!("<div class=\"charts\">{charts}</div>\n")
}

fn share_table(shares: &[ShareState]) -> String {
    let size = |size: Option<u64>| size.map_or("–".to_owned(), |size| bytes(html::float(size)));
    let rows: String = shares
        .iter()
        .map(|share| {
            let room = match (share.total_bytes, share.available_bytes) {
                (Some(total), Some(available)) if total > 0 => format!(
                    "<meter min=\"0\" max=\"{total}\" high=\"{}\" value=\"{}\"></meter> {} of {} free",
                    total / 10 * 9,
                    total.saturating_sub(available),
                    size(Some(available)),
                    size(Some(total))
                ),
                (Some(_) | None, _) => "no bound".to_owned(),
            };
            let room = match &share.error {
                Some(error) => format!("<span class=\"bad\">{}</span>", Escaped(error)),
                None => room,
            };
            format!(
                "<tr><td>{}</td><td>{} / {}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"why\">{room}</td></tr>",
                Escaped(&share.name),
                Escaped(&share.metadata_store),
                Escaped(&share.content_store),
                share.objects.map_or("–".to_owned(), |count| number(html::float(count))),
                size(share.used_bytes),
                size(Some(share.unflushed_bytes)),
            )
        })
        .collect();
    let head = "<th>share</th><th>stores</th><th class=\"n\">objects</th><th class=\"n\">used</th>\
                <th class=\"n\">unflushed</th><th>content store</th>";
    section("Shares", &table(head, &rows))
}

fn client_table(clients: &[Client]) -> String {
    let active: Vec<_> = clients.iter().filter(|client| client.connections > 0).collect();
    let rows = active.iter().flat_map(|client| {
        let idle = client.now.is_empty().then_some(None);
        let now = client.now.iter().map(Some).chain(idle);
        now.map(move |now| client_row(client, now))
    });
    let rows: String = rows.take(MOST_ROWS).collect();
    let head = "<th>client</th><th class=\"n\">connections</th><th>share</th><th class=\"n\">calls/s</th>\
                <th class=\"n\">failures/s</th><th class=\"n\">read/s</th><th class=\"n\">written/s</th>\
                <th class=\"n\">latency</th>";
    let body = if rows.is_empty() { none("no client is connected") } else { table(head, &rows) };
    section(&format!("Clients <span class=\"soft\">{}</span>", active.len()), &body)
}

fn client_row(client: &Client, now: Option<&Now>) -> String {
    let cells = match now {
        None => {
            "<td class=\"soft\">idle</td><td></td><td></td><td></td><td></td><td></td>".to_owned()
        }
        Some(now) => format!(
            "<td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td>",
            Escaped(now.share.as_deref().unwrap_or("–")),
            number(now.calls_per_second),
            number(now.failures_per_second),
            bytes(now.read_bytes_per_second),
            bytes(now.written_bytes_per_second),
            milliseconds(now.latency_ms)
        ),
    };
    let (client, connections) = (Escaped(&client.client), client.connections);
    format!("<tr><td>{client}</td><td class=\"n\">{connections}</td>{cells}</tr>")
}

fn slow_table(slow: &[Slow]) -> String {
    let rows: String = slow
        .iter()
        .take(MOST_ROWS)
        .map(|call| {
            format!(
                "<tr><td class=\"n\">{} ago</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"handle\">{}</td></tr>",
                since(call.at),
                Escaped(&call.client),
                Escaped(call.procedure),
                milliseconds(call.took_ms),
                milliseconds(call.connection_ms),
                milliseconds(call.database_ms),
                milliseconds(call.content_ms),
                milliseconds(call.away_ms),
                Escaped(call.handle.as_deref().unwrap_or("–"))
            )
        })
        .collect();
    let head = "<th class=\"n\">when</th><th>client</th><th>procedure</th><th class=\"n\">took</th>\
                <th class=\"n\">connection</th><th class=\"n\">database</th><th class=\"n\">content</th>\
                <th class=\"n\">away</th><th>handle</th>";
    let body = if rows.is_empty() {
        none("no call took as long as logging.slow_calls")
    } else {
        table(head, &rows)
    };
    section("Slow calls", &body)
}

fn job_table(maintenance: &MaintenanceState) -> String {
    let ago = |then: u64| since(UNIX_EPOCH + Duration::from_secs(then));
    let row = |it: &JobState| {
        let (class, word) = match it.outcome {
            _ if it.running => ("", "runs"),
            Some("done") => ("good", "done"),
            Some("interrupted") => ("", "interrupted"),
            Some(outcome) => ("bad", outcome),
            None => ("bad", "lost"),
        };
        let success = it.last_success.map_or("never".to_owned(), |then| ago(then) + " ago");
        format!(
            "<tr><td class=\"fit\">{}</td><td class=\"{class}\">{word}</td><td class=\"n\">{} ago</td>\
             <td class=\"n\">{}</td><td class=\"n\">{success}</td><td class=\"why\">{}</td><td>{}</td></tr>",
            Escaped(it.job),
            ago(it.begun),
            span(Duration::from_secs(it.seconds)),
            Escaped(&it.text),
            Escaped(&it.host),
        )
    };
    let rows: String = maintenance.jobs.iter().map(row).collect();
    let head = "<th>job</th><th></th><th class=\"n\">begun</th><th class=\"n\">took</th>\
                <th class=\"n\">last success</th><th></th><th>server</th>";
    let body = if rows.is_empty() { none("no job has run yet") } else { table(head, &rows) };
    let left = |next: u64| UNIX_EPOCH + Duration::from_secs(next);
    let left = maintenance.next.and_then(|next| left(next).duration_since(SystemTime::now()).ok());
    let next = left.map_or("off".to_owned(), |left| format!("in {}", span(left)));
    section(&format!("Maintenance <span class=\"soft\">{next}</span>"), &body)
}

fn configuration(about: &About) -> String {
    let started = about.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    format!(
        "<section><details id=\"configuration\"><summary>Configuration</summary>\
         <p class=\"soft\">{} as it was read at {started} (seconds since 1970)</p><pre>{}</pre></details></section>\n",
        Escaped(&about.source),
        Escaped(&about.configuration)
    )
}

fn section(title: &str, body: &str) -> String {
    format!("<section><h2>{title}</h2>{body}</section>\n")
}

fn table(head: &str, rows: &str) -> String {
    format!(
        "<div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn none(text: &str) -> String {
    format!("<p class=\"soft\">{text}</p>")
}
