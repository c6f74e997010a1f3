//! What a holder and its guardian tell each other: datagrams of a kind and a few bytes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::protocol::Instant;

/// The longest message in bytes.
const LONGEST: usize = 512;

/// A message, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// To the guardian: all leases last until then.
    Lease(Instant),
    /// To the guardian: start the command, for which all leases last until then.
    Start(Instant),
    /// To the guardian: pass this signal on to the command.
    Signal(i32),
    /// To the guardian: a device is lost, whatever its lease says.
    Lost,
    /// To the guardian: nothing is held any more, and all is in order.
    Released,
    /// To the holder: ready.
    Ready,
    /// To the holder: cannot do what it is for, and why.
    Unable(String),
    /// To the holder: the command runs, as the leader of this process group.
    Started(i32),
    /// To the holder: the command cannot be started; the error's number.
    NotStarted(i32),
    /// To the holder: the command has ended.
    Exited {
        /// As a shell gives it.
        code: u8,
        /// Whether it was made to end.
        made: bool,
    },
    /// To the holder, from its own end of the line: the guardian is no more.
    Gone,
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let number = |kind: u8, number: u64| [&[kind][..], &number.to_le_bytes()].concat();
        let signed = |kind: u8, value: i32| number(kind, u64::from(value.cast_unsigned()));
        match self {
            Message::Lease(end) => number(1, end.0),
            Message::Start(end) => number(2, end.0),
            Message::Signal(signal) => signed(3, *signal),
            Message::Lost => vec![4],
            Message::Released => vec![5],
            Message::Ready => vec![6],
            Message::Unable(why) => {
                let why = why.as_bytes();
                [&[7], &why[..why.len().min(LONGEST - 1)]].concat()
            }
            Message::Started(group) => signed(8, *group),
            Message::NotStarted(error) => signed(9, *error),
            Message::Exited { code, made } => vec![10, *code, u8::from(*made)],
            Message::Gone => vec![11],
        }
    }

    fn decode(raw: &[u8]) -> Option<Self> {
        let (kind, rest) = raw.split_first()?;
        let number = || Some(u64::from_le_bytes(rest.try_into().ok()?));
        let signed = || Some(u32::try_from(number()?).ok()?.cast_signed());
        Some(match kind {
            1 => Message::Lease(Instant(number()?)),
            2 => Message::Start(Instant(number()?)),
            3 => Message::Signal(signed()?),
            4 => Message::Lost,
            5 => Message::Released,
            6 => Message::Ready,
            7 => Message::Unable(String::from_utf8_lossy(rest).into_owned()),
            8 => Message::Started(signed()?),
            9 => Message::NotStarted(signed()?),
            10 => Message::Exited { code: *rest.first()?, made: rest.get(1) == Some(&1) },
            11 => Message::Gone,
            _ => return None,
        })
    }

    /// Sends it; fails rather than wait.
    pub(super) fn send(&self, line: BorrowedFd<'_>) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        Ok(send(line.as_raw_fd(), &self.encode(), flags).map(drop)?)
    }

    /// The next one that has come, if any; [`Message::Gone`] where the other end is closed.
    pub(super) fn receive(line: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut raw = [0; LONGEST];
        match recv(line.as_raw_fd(), &mut raw, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Some(Message::Gone)),
            Ok(len) => Ok(Self::decode(&raw[..len])),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let all = [
            Message::Lease(Instant(u64::MAX - 1)),
            Message::Start(Instant(7)),
            Message::Signal(15),
            Message::Lost,
            Message::Released,
            Message::Ready,
            Message::Unable("no".to_owned()),
            Message::Started(i32::MAX),
            Message::NotStarted(2),
            Message::Exited { code: 7, made: true },
            Message::Gone,
        ];
        for message in all {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&[]), None);
        assert_eq!(Message::decode(&[1, 2]), None);
    }
}
