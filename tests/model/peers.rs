//! Small models of the other programs that use the block, written from what they were seen to do.
//!
//! They answer events with actions as the production machines do. A peer is a *user* from the
//! moment its program would go on to change the file system until it has stopped.

use mmp::layout::{MmpBlock, Sequence};
use mmp::protocol::{Action, Event, Instant, Now, Write, effective_interval};
use mmp::protocol::{guard_interval, lease_interval};
use std::time::Duration;

pub(crate) type PeerAction = Action<Write, Ended>;

/// How a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ended {
    /// It left the file system, or never got it.
    Gone,
    /// It found somebody else's content.
    Refused,
}

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    /// A mainline kernel's read-write mount with kmmpd: no wait on a clean block.
    Mainline,
    /// Lustre's kernel since 2.17.51: 2 s on a clean block, otherwise min(2C+1, C+20).
    Lustre,
    /// e2fsck: always waits; then FSCK, rewritten about once a minute after a comparison.
    E2fsck,
    /// tune2fs or an administrator with `-f -E clear_mmp`: writes CLEAN without a look.
    ForcedClear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Looking,
    Watching,
    LookingAgain,
    Claiming,
    Verifying,
    LookingLast,
    Taking,
    Using,
    Updating,
    LookingToLeave,
    Leaving,
}

/// One run of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    program: Program,
    draw: u32,
    stage: Stage,
    stopping: bool,
    wait: Duration,
    block: Option<MmpBlock>,
}

/// Seconds: the superblock's update interval in every model.
pub(crate) const UPDATE_INTERVAL: u16 = 5;

impl Peer {
    pub(crate) fn new(program: Program, draw: u32) -> Self {
        let wait = Duration::ZERO;
        Peer { program, draw, stage: Stage::Looking, stopping: false, wait, block: None }
    }

    pub(crate) fn uses(&self) -> bool {
        use Stage::{LookingToLeave, Updating, Using};
        match self.program {
            Program::Mainline | Program::Lustre => {
                matches!(self.stage, Stage::Taking | Using | Updating | LookingToLeave)
            }
            Program::E2fsck => matches!(self.stage, Using | Updating | LookingToLeave),
            Program::ForcedClear => false,
        }
    }

    /// Whether kmmpd writes, blindly, again and again.
    pub(crate) fn rewrites(&self) -> bool {
        self.uses() && self.program != Program::E2fsck
    }

    /// Whether it looks a last time before it uses the file system.
    pub(crate) fn looks_last(&self) -> bool {
        self.stage == Stage::LookingLast
    }

    fn write(&mut self, stage: Stage, sequence: Sequence) -> PeerAction {
        self.stage = stage;
        let Some(block) = self.block.take() else {
            return Action::Done(Ended::Gone);
        };
        let block = block.with_sequence(sequence);
        self.block = Some(block.clone());
        Action::Write(Write { block, flush: false })
    }

    fn read(&mut self, stage: Stage) -> PeerAction {
        self.stage = stage;
        Action::Read
    }

    fn pause(&mut self, stage: Stage, now: Instant) -> PeerAction {
        self.stage = stage;
        Action::Wait(now + self.wait)
    }

    fn first_look(&mut self, found: MmpBlock, now: Instant) -> PeerAction {
        let c = effective_interval(UPDATE_INTERVAL, found.check_interval());
        let clean = found.sequence() == Sequence::Clean;
        self.wait = match (self.program, clean) {
            (Program::Mainline, true) => Duration::ZERO,
            (Program::Lustre, true) => Duration::from_secs(2),
            (Program::Lustre, false) => lease_interval(c),
            _ => guard_interval(c),
        };
        self.block = Some(found.clone());
        match found.sequence() {
            Sequence::Clean => self.claim(),
            Sequence::Active(_) => self.pause(Stage::Watching, now),
            Sequence::Fsck | Sequence::Unknown(_) => Action::Done(Ended::Refused),
        }
    }

    fn claim(&mut self) -> PeerAction {
        self.write(Stage::Claiming, Sequence::active(self.draw))
    }

    fn unchanged(&self, found: &MmpBlock) -> bool {
        self.block.as_ref().is_some_and(|block| block.sequence() == found.sequence())
    }

    /// The claim has stood: kmmpd starts, or e2fsck says who it is.
    fn take(&mut self) -> PeerAction {
        match self.program {
            Program::E2fsck => self.write(Stage::Taking, Sequence::Fsck),
            _ => {
                let published = (2 * UPDATE_INTERVAL).max(5);
                self.block = self.block.take().map(|block| block.with_check_interval(published));
                self.write(Stage::Taking, Sequence::Active(1))
            }
        }
    }

    fn rewrite_interval(&self) -> Duration {
        match self.program {
            Program::E2fsck => Duration::from_secs(60),
            _ => Duration::from_secs(UPDATE_INTERVAL.into()),
        }
    }

    fn looked(&mut self, found: MmpBlock, now: Instant) -> PeerAction {
        match self.stage {
            Stage::Looking => self.first_look(found, now),
            _ if !self.unchanged(&found) => Action::Done(Ended::Refused),
            Stage::LookingAgain => self.claim(),
            Stage::LookingLast => self.take(),
            Stage::LookingToLeave if self.stopping => self.write(Stage::Leaving, Sequence::Clean),
            _ => self.write(Stage::Updating, Sequence::Fsck),
        }
    }

    pub(crate) fn on(&mut self, event: Event, now: Now) -> PeerAction {
        match (self.stage, event) {
            (Stage::Looking, Event::Begin) if self.program == Program::ForcedClear => {
                self.stage = Stage::Leaving;
                Action::Read
            }
            (Stage::Leaving, Event::Read { result: Ok(found), .. }) => {
                self.block = Some(found);
                self.write(Stage::Leaving, Sequence::Clean)
            }
            (_, Event::Begin) => self.read(Stage::Looking),
            (_, Event::Read { result: Ok(found), .. }) => self.looked(found, now.instant),
            (_, Event::Read { result: Err(_), .. }) => Action::Done(Ended::Refused),
            (Stage::Claiming, Event::Wrote { result: Ok(()), .. }) => {
                self.pause(Stage::Verifying, now.instant)
            }
            (Stage::Taking | Stage::Updating, Event::Wrote { .. }) => {
                self.stage = Stage::Using;
                Action::Wait(now.instant + self.rewrite_interval())
            }
            (_, Event::Wrote { .. }) => Action::Done(Ended::Gone),
            (Stage::Watching, Event::Timer) => self.read(Stage::LookingAgain),
            (Stage::Verifying, Event::Timer) => self.read(Stage::LookingLast),
            (Stage::Using, event) => {
                self.stopping |= event == Event::Stop;
                match (self.program, self.stopping) {
                    (Program::E2fsck, _) => self.read(Stage::LookingToLeave),
                    (_, true) => self.write(Stage::Leaving, Sequence::Clean),
                    (_, false) => self.kmmpd(),
                }
            }
            _ => Action::Done(Ended::Gone),
        }
    }

    /// kmmpd does not look before it writes.
    fn kmmpd(&mut self) -> PeerAction {
        let next = self.block.as_ref().map_or(Sequence::Active(1), |b| b.sequence().next());
        self.write(Stage::Updating, next)
    }
}
