//! Drawing rows on a terminal of any size, with colours or without.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style as Look};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as TableRow, Table, Wrap};

use super::columns::{Column, beginning_of, columns, end_of};
use super::row::{Mood, Note, Row};

/// From a short interval to a long one.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Cells of the bar that shows an age.
const AGE_CELLS: usize = 8;

/// How things are made to stand out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    /// Without colours where NO_COLOR is set to anything (no-color.org).
    pub(super) fn of_environment() -> Self {
        Style { coloured: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn mood(self, mood: Mood) -> Look {
        match mood {
            _ if !self.coloured => Look::new(),
            Mood::Good => Look::new().fg(Color::Green),
            Mood::Busy => Look::new().fg(Color::Cyan),
            Mood::Doubtful => Look::new().fg(Color::Yellow),
            Mood::Bad => Look::new().fg(Color::Red),
        }
    }

    fn alarm(self) -> Look {
        let bold = Look::new().add_modifier(Modifier::BOLD);
        if self.coloured { bold.fg(Color::Red) } else { bold }
    }

    fn heading(self) -> Look {
        Look::new().add_modifier(Modifier::REVERSED)
    }
}

/// What is shown, and from which row on.
#[derive(Debug)]
pub(super) struct Screen {
    style: Style,
    first: usize,
    wanted: isize,
}

impl Screen {
    pub(super) fn new(style: Style) -> Self {
        Screen { style, first: 0, wanted: 0 }
    }

    /// Moves so many rows down.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.wanted = self.wanted.saturating_add(rows);
    }

    /// Draws the devices, and why others that were found are not among them.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, rows: &[Row], others: &[String]) {
        let area = frame.area();
        let alarms: Vec<&Note> = rows.iter().flat_map(|row| &row.alarms).collect();
        let reasons = rows.iter().filter_map(|row| row.reason.as_ref());
        let text: Vec<Line<'_>> = (alarms.iter().copied().chain(reasons))
            .map(|note| self.note(note))
            .chain(others.iter().map(|other| Line::from(other.as_str())))
            .collect();
        let wanted = text.iter().map(|line| lines(line.width(), area.width)).sum::<u16>();
        // The rows come first; the alarms get what is left, and at least half where there is much
        // of both.
        let needed = u16::try_from(rows.len()).unwrap_or(u16::MAX).saturating_add(2);
        let left = area.height.saturating_sub(needed).max(area.height / 2);
        let panel = if text.is_empty() { 0 } else { wanted.saturating_add(1).min(left) };
        let [title, table, panel] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(panel),
        ])
        .areas(area);
        self.title(frame, title, rows.len(), alarms.len());
        self.table(frame, table, rows);
        let heading = if alarms.is_empty() { "not read" } else { "alarms" };
        let border = Block::new().borders(Borders::TOP).title(heading);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(border), panel);
    }

    fn title(&self, frame: &mut Frame<'_>, area: Rect, devices: usize, alarms: usize) {
        let text = format!(" mmpwatch   devices: {devices}   alarms: {alarms}   q leaves");
        let look = if alarms > 0 { self.style.alarm() } else { Look::new() };
        frame.render_widget(Paragraph::new(text).style(look.patch(self.style.heading())), area);
    }

    fn note<'a>(&self, note: &'a Note) -> Line<'a> {
        let (before, rest) = note.text.split_at(note.word.0);
        let (word, after) = rest.split_at(note.word.1 - note.word.0);
        Line::from(vec![
            Span::raw(before),
            Span::styled(word, self.style.alarm()),
            Span::raw(after),
        ])
    }

    fn table(&mut self, frame: &mut Frame<'_>, area: Rect, rows: &[Row]) {
        let visible = usize::from(area.height.saturating_sub(1));
        let last = rows.len().saturating_sub(visible);
        let wanted = std::mem::take(&mut self.wanted);
        self.first = self.first.min(last).saturating_add_signed(wanted).min(last);
        // The mark and the space after it are always there.
        let columns = columns(rows, usize::from(area.width).saturating_sub(2));
        let widths = columns.iter().map(|(_, width)| u16::try_from(*width).unwrap_or(u16::MAX));
        let widths = std::iter::once(1).chain(widths).map(Constraint::Length);
        let heading = columns.iter().map(|(column, _)| column.heading());
        let heading = TableRow::new(std::iter::once("").chain(heading))
            .style(Look::new().add_modifier(Modifier::BOLD));
        let shown = rows.iter().skip(self.first).take(visible);
        let shown = shown.map(|row| self.row(row, &columns));
        frame.render_widget(Table::new(shown, widths).header(heading), area);
    }

    fn row(&self, row: &Row, columns: &[(Column, usize)]) -> TableRow<'static> {
        let mark = if row.alarms.is_empty() { " " } else { "!" };
        let cells = columns.iter().map(|(column, width)| self.cell(row, *column, *width));
        let mark = Cell::from(mark).style(self.style.alarm());
        TableRow::new(std::iter::once(mark).chain(cells))
    }

    /// Devices are told apart by how their names end, holders by how theirs begin.
    fn cell(&self, row: &Row, column: Column, width: usize) -> Cell<'static> {
        match column {
            Column::Device => {
                let alarmed = !row.alarms.is_empty();
                let look = if alarmed { self.style.alarm() } else { Look::new() };
                Cell::from(end_of(&row.device, width)).style(look)
            }
            Column::State => Cell::from(row.state).style(self.style.mood(row.mood)),
            Column::Holder => Cell::from(beginning_of(&row.holder, width)),
            Column::Sequence => Cell::from(beginning_of(&row.sequence, width)),
            Column::Age => Cell::from(beginning_of(&age(row), width)),
            Column::Pace => Cell::from(bars(&row.intervals)),
        }
    }
}

/// How many lines a text takes, words kept whole.
fn lines(cells: usize, width: u16) -> u16 {
    let width = usize::from(width.max(1));
    // A line that ends before a long word is not full.
    let lines = cells.saturating_mul(9) / (width * 8) + 1;
    u16::try_from(lines).unwrap_or(u16::MAX)
}

/// A bar that is full when the guard interval is over, and the age in words.
fn age(row: &Row) -> String {
    let Some((text, part)) = &row.age else { return String::new() };
    // A clean block is not waited for, however old.
    if row.mood == Mood::Good {
        return String::new();
    }
    let full = (1..=AGE_CELLS).filter(|cell| *part * AGE_CELLS as f64 >= *cell as f64).count();
    format!("{}{} {text}", "█".repeat(full), "░".repeat(AGE_CELLS - full))
}

/// The times between updates, latest first.
fn bars(intervals: &[f64]) -> String {
    let bar = |part: &f64| {
        let level = (1..BARS.len()).filter(|level| *part * BARS.len() as f64 >= *level as f64);
        BARS[level.count()]
    };
    intervals.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::layout::Escaped;

    const PLAIN: Style = Style { coloured: false };
    const COLOURED: Style = Style { coloured: true };

    fn row(device: &str, state: &'static str, mood: Mood) -> Row {
        Row {
            device: device.to_owned(),
            state,
            mood,
            holder: "oss1 sdb".to_owned(),
            sequence: "0x00000007".to_owned(),
            age: Some(("5.2 s".to_owned(), 0.25)),
            intervals: vec![0.5, 0.5, 1.0, 0.1],
            alarms: Vec::new(),
            reason: None,
        }
    }

    fn note(device: &str, rest: &str) -> Note {
        let text = format!("{device}: second-writer: {rest}");
        Note::new(device.as_ref(), "second-writer", text)
    }

    fn alarmed(device: &str) -> Row {
        let alarm = note(device, "two write it; stop both at once");
        Row { alarms: vec![alarm], ..row(device, "in use", Mood::Busy) }
    }

    fn drawn(screen: &mut Screen, rows: &[Row], width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
        terminal.draw(|frame| screen.draw(frame, rows, &[])).expect("drawn");
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &Buffer) -> Vec<String> {
        let width = usize::from(buffer.area.width);
        let symbols: Vec<_> = buffer.content.iter().map(|cell| cell.symbol()).collect();
        symbols.chunks(width).map(|line| line.concat().trim_end().to_owned()).collect()
    }

    #[test]
    fn a_row_a_device_and_the_alarms_below() {
        let rows = [row("/dev/sdb OST0001", "clean", Mood::Good), alarmed("/dev/sdc")];
        let lines = text(&drawn(&mut Screen::new(PLAIN), &rows, 80, 24));
        assert_eq!(lines[0], " mmpwatch   devices: 2   alarms: 1   q leaves");
        for (line, words) in [
            (1, &["DEVICE", "STATE", "HOLDER", "SEQUENCE", "AGE", "PACE"][..]),
            (2, &["  /dev/sdb", "clean", "oss1 sdb", "0x00000007", "▅▅█▁"]),
            (3, &["! /dev/sdc", "in use", "██░░░░░░ 5.2 s", "▅▅█▁"]),
            (22, &["alarms"]),
            (23, &["/dev/sdc: second-writer: two write it; stop both at once"]),
        ] {
            for word in words {
                assert!(lines[line].contains(word), "no {word} in {:#?}", lines);
            }
        }
        assert!(!lines[2].contains('░'), "{lines:#?}");
    }

    #[test]
    fn names_that_have_room_are_shown_in_full() {
        let here = Row { holder: "vm loop22 (here)".to_owned(), ..alarmed("/dev/loop22") };
        let lines = text(&drawn(&mut Screen::new(PLAIN), &[here], 80, 24));
        for word in ["/dev/loop22 ", "vm loop22 (here) ", "▅▅█▁"] {
            assert!(lines[2].contains(word), "no {word} in {lines:#?}");
        }
    }

    /// As many as make a screen, of names that differ at their ends only.
    #[test]
    fn names_are_cut_where_they_can_still_be_told_apart() {
        let long = "/dev/disk/by-id/dm-name-lustre-ost0001";
        let mut rows: Vec<_> =
            (170..193).map(|n| row(&format!("/dev/loop{n}"), "clean", Mood::Good)).collect();
        rows.push(Row {
            holder: "oss1.cluster.example.org dm-17".to_owned(),
            ..row(long, "in use", Mood::Busy)
        });
        rows.push(Row { holder: "vm loop181 (ro by error)".to_owned(), ..alarmed("/dev/loop181") });
        for (width, words) in [
            (
                80,
                &[
                    "/dev/loop175 ",
                    "…-lustre-ost0001 ",
                    "oss1.cluster.ex… ",
                    "SEQUENCE   AGE ",
                    "PACE",
                ][..],
            ),
            (40, &["/dev/loop175 ", "…d/dm-name-lustre-ost0001 in use"]),
        ] {
            let text = text(&drawn(&mut Screen::new(PLAIN), &rows, width, 60)).join("\n");
            for word in words {
                assert!(text.contains(word), "no {word} in\n{text}");
            }
        }
    }

    #[test]
    fn why_something_is_not_read() {
        let reason = note("/dev/sdb", "cannot open: Permission denied");
        let rows = [Row { reason: Some(reason), ..row("/dev/sdb", "unreadable", Mood::Bad) }];
        let others = ["3 devices cannot be opened: Permission denied".to_owned()];
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("terminal");
        let mut screen = Screen::new(PLAIN);
        terminal.draw(|frame| screen.draw(frame, &rows, &others)).expect("drawn");
        let lines = text(terminal.backend().buffer());
        assert!(lines[0].contains("alarms: 0") && lines[2].starts_with("  /dev/sdb"), "{lines:#?}");
        assert!(lines[21].starts_with("not read─"), "{lines:#?}");
        assert_eq!(lines[22], "/dev/sdb: second-writer: cannot open: Permission denied");
        assert_eq!(lines[23], others[0]);
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let rows = [row("/dev/sdb", "stale", Mood::Doubtful), alarmed("/dev/sdc")];
        let colours = |style| {
            let buffer = drawn(&mut Screen::new(style), &rows, 80, 24);
            let coloured = buffer.content.iter().filter(|cell| cell.fg != Color::Reset);
            coloured.map(|cell| cell.fg).collect::<std::collections::HashSet<_>>()
        };
        assert_eq!(colours(PLAIN), [].into());
        assert_eq!(colours(COLOURED), [Color::Yellow, Color::Red, Color::Cyan].into());
    }

    #[test]
    fn any_size_will_do() {
        let rows: Vec<_> = (0..50).map(|n| alarmed(&format!("/dev/sd{n}"))).collect();
        for width in [0, 1, 2, 7, 20, 79, 80, 200, 500] {
            for height in [0, 1, 2, 3, 5, 24, 100] {
                for count in [0, 1, 50] {
                    drawn(&mut Screen::new(COLOURED), &rows[..count], width, height);
                }
            }
        }
    }

    #[test]
    fn scrolls_to_both_ends_and_no_further() {
        let rows: Vec<_> =
            (0..50).map(|n| row(&format!("/dev/sd{n}"), "clean", Mood::Good)).collect();
        let mut screen = Screen::new(PLAIN);
        let mut first = |rows_down, height| {
            screen.scroll(rows_down);
            text(&drawn(&mut screen, &rows, 80, height))[2].clone()
        };
        for (down, height, seen) in [
            (0, 24, "/dev/sd0 "),
            (1, 24, "/dev/sd1 "),
            (-10, 24, "/dev/sd0 "),
            (isize::MAX, 24, "/dev/sd28 "),
            (10, 24, "/dev/sd28 "),
            (0, 60, "/dev/sd0 "),
            (isize::MIN, 24, "/dev/sd0 "),
        ] {
            let line = first(down, height);
            assert!(line.contains(seen), "{down}: {line}");
        }
    }

    #[test]
    fn names_from_a_disk_break_nothing() {
        let hostile = [
            "\x1b[2J\x1b]0;\x07\r\n\x08".to_owned(),
            "\u{202e}\u{200b}\u{7}".to_owned(),
            "漢字".repeat(40),
            "e\u{301}\u{345}".repeat(40),
            "x".repeat(500),
        ];
        for name in hostile {
            let shown = Escaped(name.as_bytes()).to_string();
            let alarms = vec![note("/dev/sdb", &shown); 9];
            let row = Row { holder: shown.clone(), alarms, ..row(&shown, "in use", Mood::Busy) };
            let rows = [row, self::row("/dev/sdc", "clean", Mood::Good)];
            let buffer = drawn(&mut Screen::new(COLOURED), &rows, 80, 24);
            let lines = text(&buffer);
            assert!(lines.concat().chars().all(|c| !c.is_control()), "{lines:#?}");
            assert!(lines[3].starts_with("  /dev/sdc"), "{lines:#?}");
            assert!(lines[3].contains("clean"), "{lines:#?}");
        }
    }
}
