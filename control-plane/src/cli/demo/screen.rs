//! The live table in the terminal.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use comfy_table::presets::{NOTHING, UTF8_HORIZONTAL_ONLY};
use comfy_table::{CellAlignment, Table};
use tokio::time::{Instant, MissedTickBehavior};

use super::load::{Counts, Load};
use super::sample::Sample;
use super::story::{State, Story};
use super::summary::millis;
use crate::app::Running;
use crate::cli::output::count;

/// Time between two pictures.
const REFRESH: Duration = Duration::from_millis(500);

/// Shows the demo while it runs, or waits silently.
pub(super) struct Screen {
    live: bool,
    api: SocketAddr,
    admin_pages: Vec<(&'static str, &'static str, SocketAddr)>,
}

impl Screen {
    pub(super) fn new(live: bool, control_plane: &Running, sample: &Sample) -> Self {
        Self {
            live,
            api: control_plane.api_address(),
            admin_pages: sample.admin_pages().collect(),
        }
    }

    /// Returns when `duration` is over (false) or somebody asked us to stop (true).
    pub(super) async fn show_until_done(
        &self,
        load: &Load,
        story: &Story,
        duration: Option<Duration>,
    ) -> bool {
        let end = duration.map(|d| Instant::now() + d);
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut before = load.counts();
        let stop = crate::cli::stop_signal();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return true,
                () = at(end) => return false,
                _ = refresh.tick() => {}
            }
            if self.live {
                let now = load.counts();
                self.draw(&now, &before, &story.state());
                before = now;
            }
        }
    }

    fn draw(&self, now: &Counts, before: &Counts, story: &State) {
        let size = Size::of_terminal();
        let mut picture = format!(
            "weft demo · {:.0} s · {} requests · {} failures · p50 {:.2} ms · p99 {:.2} ms\n",
            now.elapsed.as_secs_f64(),
            now.requests,
            now.failures,
            millis(now.latency.value_at_quantile(0.5)),
            millis(now.latency.value_at_quantile(0.99)),
        );
        picture += &format!(
            "canary: reviews v2 at {} % · {} acknowledged by all sidecars\n\n",
            story.percent,
            count(story.revisions.len(), "revision")
        );
        picture += &self.table(now, before, size).to_string();
        picture += &format!(
            "\n\ncontrol plane: http://{}   Try it while this runs:\n",
            self.api
        );
        picture += &format!("  weft --server http://{} get services\n", self.api);
        picture += &format!("  weft --server http://{} proxies\n", self.api);
        for why in now.first_failures.iter().chain(&story.trouble) {
            picture += &format!("failed: {why}\n");
        }
        picture += "\nCtrl-C ends it and leaves nothing behind.\n";
        let picture = format!("\x1b[H\x1b[2J{}", fit(&picture, size));
        // A terminal that is gone ends the demo by its signal, not by this write.
        let _ = std::io::stdout().write_all(picture.as_bytes());
        let _ = std::io::stdout().flush();
    }

    fn table(&self, now: &Counts, before: &Counts, size: Size) -> Table {
        let mut table = Table::new();
        let style = match size.is_small() {
            true => NOTHING,
            false => UTF8_HORIZONTAL_ONLY,
        };
        table.load_style(style).set_header([
            "service",
            "version",
            "answers",
            "per second",
            "sidecar's admin page",
        ]);
        let seconds = now.elapsed.saturating_sub(before.elapsed).as_secs_f64();
        for (service, version, admin) in &self.admin_pages {
            let key = ((*service).to_owned(), (*version).to_owned());
            let count = |counts: &Counts| counts.served.get(&key).copied().unwrap_or(0);
            let fresh = f64::from(
                u32::try_from(count(now).saturating_sub(count(before))).unwrap_or(u32::MAX),
            );
            let rate = if seconds > 0.0 { fresh / seconds } else { 0.0 };
            table.add_row([
                (*service).to_owned(),
                (*version).to_owned(),
                count(now).to_string(),
                format!("{rate:.0}"),
                format!("http://{admin}"),
            ]);
        }
        for column in [2, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug)]
struct Size {
    columns: usize,
    rows: usize,
}

impl Size {
    /// Of the terminal that standard output is; the usual one where it does not say.
    fn of_terminal() -> Self {
        let said = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let said = said.filter(|it| it.ws_col > 0 && it.ws_row > 0);
        said.map_or(
            Self {
                columns: 80,
                rows: 24,
            },
            |it| Self {
                columns: it.ws_col.into(),
                rows: it.ws_row.into(),
            },
        )
    }

    /// Whether lines between the table's rows would push its head off the screen.
    fn is_small(self) -> bool {
        self.columns < PICTURE_COLUMNS || self.rows < PICTURE_ROWS
    }
}

/// What the picture needs with lines between the table's rows and some failures below it.
const PICTURE_COLUMNS: usize = 72;
const PICTURE_ROWS: usize = 24;

/// What of `picture` the terminal can show: a line too long would wrap, one too many would push the first off the screen.
fn fit(picture: &str, size: Size) -> String {
    let lines = picture.lines().take(size.rows.saturating_sub(1));
    let lines = lines.map(|line| line.chars().take(size.columns).chain(['\n']));
    lines.flatten().collect()
}

/// At `end`, or never.
async fn at(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_to_the_terminal_and_loses_its_end() {
        let size = Size {
            columns: 4,
            rows: 3,
        };
        assert_eq!(fit("canary · 10\nab\ncd\nef\n", size), "cana\nab\n");
    }
}
