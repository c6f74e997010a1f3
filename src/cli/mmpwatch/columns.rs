//! Which columns there is room for, how wide they are, and what is cut where.

use ratatui::text::Span;

use super::row::Row;

/// What is known of a device, in the order shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Device,
    State,
    Holder,
    Sequence,
    Age,
    Pace,
}

use Column::{Age, Device, Holder, Pace, Sequence, State};

/// In the order shown.
const ALL: [Column; 6] = [Device, State, Holder, Sequence, Age, Pace];
/// What is left out first where there is no room, to what stays longest.
const EXPENDABLE: [Column; 5] = [Pace, Sequence, Age, Holder, State];
/// A name is cut to this, but no further, before another column is left out.
const NAME: usize = 16;
/// In place of what is cut away.
const ELLIPSIS: char = '…';

impl Column {
    pub(super) fn heading(self) -> &'static str {
        match self {
            Device => "DEVICE",
            State => "STATE",
            Holder => "HOLDER",
            Sequence => "SEQUENCE",
            Age => "AGE",
            Pace => "PACE",
        }
    }

    /// The cells that it takes at least, and those that it can use; without names and paces they
    /// are the same whatever is shown, so that nothing moves when the rows change.
    fn cells(self, rows: &[Row]) -> (usize, usize) {
        let longest = |text: fn(&Row) -> usize| {
            let heading = self.heading().chars().count();
            rows.iter().map(text).fold(heading, usize::max)
        };
        match self {
            Device => some_of(longest(|row| width(&row.device))),
            Holder => some_of(longest(|row| width(&row.holder))),
            State => (12, 12),
            Sequence => (10, 10),
            Age => (15, 15),
            // The latest come first: what is cut away is the oldest.
            Pace => (4, longest(|row| row.intervals.len())),
        }
    }
}

/// What a name takes at least, of what it can use.
fn some_of(longest: usize) -> (usize, usize) {
    (longest.min(NAME), longest)
}

/// The columns that have room in so many cells with a space between each, and their widths.
pub(super) fn columns(rows: &[Row], cells: usize) -> Vec<(Column, usize)> {
    let mut shown = ALL.map(|column| (column, column.cells(rows))).to_vec();
    for column in EXPENDABLE {
        let least = shown.iter().map(|(_, (least, _))| least + 1).sum::<usize>();
        // The state goes only where even the heading of the device has no room beside it.
        let least = if column == State { 6 + 1 + 12 + 1 } else { least };
        if least > cells + 1 {
            shown.retain(|(kept, _)| *kept != column);
        }
    }
    share(&shown, cells)
}

/// Gives the columns what they need, and what is left to whichever of them has least of it.
fn share(shown: &[(Column, (usize, usize))], cells: usize) -> Vec<(Column, usize)> {
    let mut widths: Vec<_> = shown.iter().map(|(column, (least, _))| (*column, *least)).collect();
    let cells = cells.saturating_sub(shown.len().saturating_sub(1));
    let taken = |widths: &[(Column, usize)]| widths.iter().map(|(_, width)| width).sum::<usize>();
    while taken(&widths) < cells {
        let wanting =
            widths.iter_mut().zip(shown).filter(|((_, width), (_, (_, most)))| width < most);
        // Names before the pace.
        let next =
            wanting.map(|(one, _)| one).min_by_key(|(column, width)| (*column == Pace, *width));
        let Some((_, width)) = next else { break };
        *width += 1;
    }
    // Only the device may still be too wide, where there is next to no room at all.
    let over = taken(&widths).saturating_sub(cells);
    if let Some((_, width)) = widths.first_mut() {
        *width = width.saturating_sub(over);
    }
    widths
}

/// How many cells a text takes.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text's end, with a mark if it is not all.
pub(super) fn end_of(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let kept = fitting(text.chars().rev(), cells);
    std::iter::once(ELLIPSIS).chain(kept.into_iter().rev()).collect()
}

/// The text's beginning, with a mark if it is not all.
pub(super) fn beginning_of(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    fitting(text.chars(), cells).into_iter().chain([ELLIPSIS]).collect()
}

/// As many characters as fit beside the mark.
fn fitting(text: impl Iterator<Item = char>, cells: usize) -> Vec<char> {
    let mut left = cells.saturating_sub(1);
    let fits = |character: &char| {
        let taken = width(character.encode_utf8(&mut [0; 4]));
        let fits = taken <= left;
        left = left.saturating_sub(taken);
        fits
    };
    text.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::Mood;
    use super::*;

    fn row(device: &str, holder: &str) -> Row {
        Row {
            device: device.to_owned(),
            state: "in use",
            mood: Mood::Busy,
            holder: holder.to_owned(),
            sequence: "0x00000007".to_owned(),
            age: None,
            intervals: vec![0.5; 12],
            alarms: Vec::new(),
            reason: None,
        }
    }

    fn shown(rows: &[Row], cells: usize) -> Vec<Column> {
        columns(rows, cells).into_iter().map(|(column, _)| column).collect()
    }

    #[test]
    fn what_has_no_room_goes_whole_and_the_device_last() {
        let rows = [row(&"d".repeat(60), &"h".repeat(60))];
        for (cells, kept) in [
            (200, &ALL[..]),
            (78, &ALL),
            (77, &[Device, State, Holder, Sequence, Age]),
            (72, &[Device, State, Holder, Age]),
            (60, &[Device, State, Holder]),
            (38, &[Device, State]),
            (19, &[Device, State]),
            (18, &[Device]),
            (0, &[Device]),
        ] {
            assert_eq!(shown(&rows, cells), kept, "{cells}");
        }
        // Short names leave room.
        assert_eq!(shown(&[row("/dev/sdb", "oss1 sdb")], 62), ALL);
    }

    #[test]
    fn what_is_left_is_shared_and_never_more_than_there_is() {
        for (device, holder) in [(60, 8), (8, 60), (60, 60), (8, 8)] {
            let rows = [row(&"d".repeat(device), &"h".repeat(holder))];
            for cells in 0..250 {
                let columns = columns(&rows, cells);
                let taken: usize = columns.iter().map(|(_, width)| width + 1).sum();
                assert!(taken <= cells + 1, "{cells}: {columns:?}");
                for (column, width) in &columns {
                    let (least, most) = column.cells(&rows);
                    assert!(*width <= most, "{cells}: {columns:?}");
                    let roomy = *width >= least || (*column == Device && cells < 30);
                    assert!(roomy, "{cells}: {columns:?}");
                }
            }
        }
        let widths = |rows: &[Row], cells| columns(rows, cells)[..3].to_vec();
        let both = [row(&"d".repeat(60), &"h".repeat(60))];
        assert_eq!(widths(&both, 98), [(Device, 26), (State, 12), (Holder, 26)]);
        let one = [row("/dev/loop181", &"h".repeat(60))];
        assert_eq!(widths(&one, 98), [(Device, 12), (State, 12), (Holder, 40)]);
    }

    #[test]
    fn a_cut_shows() {
        let name = "/dev/mapper/lustre-ost0001";
        assert_eq!(end_of(name, 26), name);
        assert_eq!(end_of(name, 16), "…/lustre-ost0001");
        assert_eq!(end_of(name, 9), "…-ost0001");
        assert_eq!(beginning_of("vm loop181", 9), "vm loop1…");
        assert_eq!(beginning_of("vm loop181", 10), "vm loop181");
        for cells in 0..9 {
            for text in [&"漢字".repeat(5), &"e\u{301}\u{345}".repeat(20), name] {
                for cut in [end_of(text, cells), beginning_of(text, cells)] {
                    assert!(width(&cut) <= cells.max(1) && cut.contains('…'), "{cut}");
                }
            }
        }
    }
}
