//! A node: one production machine after another, or a peer, driven by events.

use std::time::Duration;

use mmp::layout::{MMP_MAGIC, MMP_SIZE, MmpBlock, Names, Sequence};
use mmp::protocol::{
    Action, Check, Claim, ClaimOutcome, ClaimRequest, DEFAULT_CHECK_INTERVAL, Event, Handed,
    Handover, HandoverMode, HandoverOutcome, Hold, HoldOutcome, HoldRequest, Instant, Machine, Now,
    Phase, Refusal, SETTLE, Verdict, Write, effective_interval, guard_interval,
};

use super::peers::{Ended, Peer, Program, UPDATE_INTERVAL};

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Claims and holds.
    Ours {
        /// Between two rewrites of the block.
        interval: Duration,
        /// Waits for a device in use, and claims again after a lost race, for ever or not at all.
        patient: bool,
    },
    /// Checks once.
    Checker,
    /// Prepares a mount by a mainline kernel: claims and leaves the block clean, or leaves a clean
    /// block with a sequence of its own and lets the kernel wait.
    Helper { strict: bool },
    /// Runs somebody else's program.
    Peer(Program),
}

/// Which guard of ours a control has taken away. The machines stay as they are: what they are told
/// is falsified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Removed {
    Nothing,
    /// A clean block is claimed without the wait.
    WaitOnClean,
    /// A claim is believed without a look at what became of it.
    Verify,
    /// The lease runs from the end of a write, not from before it.
    LeaseFromSubmission,
    /// The clock stops while the machine is suspended, as CLOCK_MONOTONIC does.
    Boottime,
    /// The draws of two nodes are the same.
    Draws,
    /// A block is called stale as soon as the guard interval has passed.
    Settle,
    /// Whoever is found in the block is believed to have been fenced.
    FirstWatch,
}

/// How a node's last run ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Checked(Verdict),
    Refused(Refusal),
    Held(HoldOutcome),
    Peer(Ended),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Out(Option<End>),
    Check(Check),
    Claim(Claim),
    Hold(Hold),
    /// Prepares a mount by the kernel, which draws this.
    Handover(Handover, u32),
    Peer(Peer),
}

/// What a node wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    Read,
    Write(MmpBlock),
    Wait(Instant),
    Nothing,
}

/// What a node has seen of the block since it started: what the rules for writing are judged by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sight {
    block: MmpBlock,
    /// When it was first known to stand there.
    since: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    kind: Kind,
    removed: Removed,
    names: Names,
    role: Role,
    sight: Option<Sight>,
    claimed: Option<MmpBlock>,
    original: Option<MmpBlock>,
    /// What a helper has left to the kernel, which has not mounted yet.
    handed: Option<Handed>,
    must_confirm: bool,
}

/// The block as mke2fs leaves it.
pub(crate) fn clean_block() -> MmpBlock {
    let mut raw = [0; MMP_SIZE];
    raw[..4].copy_from_slice(&MMP_MAGIC.to_le_bytes());
    MmpBlock::from_bytes(raw).with_sequence(Sequence::Clean).with_check_interval(UPDATE_INTERVAL)
}

impl Node {
    pub(crate) fn new(kind: Kind, removed: Removed, names: Names) -> Self {
        let role = Role::Out(None);
        Node {
            kind,
            removed,
            names,
            role,
            sight: None,
            claimed: None,
            original: None,
            handed: None,
            must_confirm: false,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it may change the file system, as the node itself can know: a holder until the end
    /// of its lease by its own clock, for which it needs no I/O.
    pub(crate) fn uses(&self, now: Instant) -> bool {
        match &self.role {
            Role::Hold(hold) => now < hold.lease(),
            Role::Peer(peer) => peer.uses(),
            Role::Out(_) | Role::Check(_) | Role::Claim(_) | Role::Handover(..) => false,
        }
    }

    /// Whether it has told the device nothing and wants nothing.
    pub(crate) fn is_out(&self) -> bool {
        matches!(self.role, Role::Out(_))
    }

    pub(crate) fn end(&self) -> Option<&End> {
        match &self.role {
            Role::Out(end) => end.as_ref(),
            _ => None,
        }
    }

    /// Whether kmmpd writes, blindly, again and again.
    pub(crate) fn rewrites(&self) -> bool {
        matches!(&self.role, Role::Peer(peer) if peer.rewrites())
    }

    /// Whether a kernel looks a last time before it mounts.
    pub(crate) fn looks_last(&self) -> bool {
        matches!(&self.role, Role::Peer(peer) if peer.looks_last())
    }

    /// Whether a mount that has just returned must be looked at before it is called a success.
    pub(crate) fn must_confirm(&self) -> bool {
        self.must_confirm
    }

    pub(crate) fn crash(&mut self) {
        (self.sight, self.claimed, self.original) = (None, None, None);
        (self.handed, self.must_confirm) = (None, false);
        self.role = Role::Out(None);
    }

    /// Starts a run with a draw of its own.
    pub(crate) fn start(&mut self, draw: u32, now: Now) -> Result<Todo, String> {
        self.role = match self.kind {
            Kind::Ours { interval, patient } => {
                let hold = HoldRequest { update_interval: UPDATE_INTERVAL, interval };
                Role::Claim(Claim::new(ClaimRequest {
                    update_interval: UPDATE_INTERVAL,
                    check_interval: hold.check_interval(Duration::ZERO),
                    names: self.names,
                    draw,
                    patience: Instant(if patient { u64::MAX } else { 0 }),
                }))
            }
            Kind::Helper { strict } => {
                let mode = if strict { HandoverMode::Strict } else { HandoverMode::Guard };
                let request = ClaimRequest {
                    update_interval: UPDATE_INTERVAL,
                    check_interval: DEFAULT_CHECK_INTERVAL,
                    names: self.names,
                    draw,
                    patience: Instant(0),
                };
                Role::Handover(Handover::new(mode, request), draw + 500)
            }
            Kind::Checker => Role::Check(Check::new(UPDATE_INTERVAL, false, Instant(0))),
            Kind::Peer(program) => Role::Peer(Peer::new(program, draw)),
        };
        self.on(Event::Begin, now)
    }

    /// Tells the machine an event. An error is a broken rule.
    pub(crate) fn on(&mut self, event: Event, now: Now) -> Result<Todo, String> {
        let event = self.falsified(event, now);
        self.believe(&event);
        let looked = self.look(&event, now.instant);
        match &mut self.role {
            Role::Out(_) => Ok(Todo::Nothing),
            Role::Check(check) => Ok(match check.on(event, now) {
                Action::Read => Todo::Read,
                Action::Wait(until) => Todo::Wait(until),
                Action::Done(verdict) => self.out(End::Checked(verdict)),
            }),
            Role::Claim(claim) => match claim.on(event, now) {
                Action::Read => Ok(Todo::Read),
                Action::Wait(until) => self.claim_waits(until, now),
                Action::Write(Write { block, .. }) => self.claim_writes(block, looked),
                Action::Done(ClaimOutcome::Claimed(mut claimed)) => {
                    claimed.verified = match self.removed {
                        Removed::LeaseFromSubmission => now.instant,
                        _ => claimed.verified.min(now.instant),
                    };
                    let Kind::Ours { interval, .. } = self.kind else {
                        return Err("only a holder claims for itself".into());
                    };
                    (self.sight, self.claimed, self.original) = (None, None, None);
                    let request = HoldRequest { update_interval: UPDATE_INTERVAL, interval };
                    self.role = Role::Hold(Hold::new(claimed, request));
                    self.on(Event::Begin, now)
                }
                Action::Done(ClaimOutcome::Refused { why, .. }) => Ok(self.out(End::Refused(why))),
            },
            Role::Hold(hold) => {
                let lease = hold.lease();
                match hold.on(event, now) {
                    Action::Read => Ok(Todo::Read),
                    Action::Wait(until) => Ok(Todo::Wait(until)),
                    Action::Write(_) if now.instant >= lease => Err("write after a loss".into()),
                    Action::Write(Write { block, .. }) => Ok(Todo::Write(block)),
                    Action::Done(outcome) => Ok(self.out(End::Held(outcome))),
                }
            }
            Role::Handover(handover, draw) => {
                let draw = *draw;
                Ok(match handover.on(event, now) {
                    Action::Read => Todo::Read,
                    Action::Wait(until) => Todo::Wait(until),
                    Action::Write(Write { block, .. }) => Todo::Write(block),
                    Action::Done(HandoverOutcome::Refused { why, .. }) => {
                        self.out(End::Refused(why))
                    }
                    Action::Done(HandoverOutcome::HandOver(handed)) => {
                        self.handed = Some(handed);
                        self.role = Role::Peer(Peer::new(Program::Mainline, draw));
                        return self.on(Event::Begin, now);
                    }
                })
            }
            Role::Peer(peer) => {
                let action = peer.on(event, now);
                if peer.uses()
                    && let Some(handed) = self.handed.take()
                {
                    self.must_confirm = handed.needs_confirmation(now.instant);
                }
                Ok(match action {
                    Action::Read => Todo::Read,
                    Action::Wait(until) => Todo::Wait(until),
                    Action::Write(Write { block, .. }) => Todo::Write(block),
                    Action::Done(ended) => self.out(End::Peer(ended)),
                })
            }
        }
    }

    fn was_clean(&self) -> bool {
        self.original.as_ref().is_some_and(|block| block.sequence() == Sequence::Clean)
    }

    fn out(&mut self, end: End) -> Todo {
        (self.sight, self.claimed, self.original) = (None, None, None);
        (self.handed, self.must_confirm) = (None, false);
        self.role = Role::Out(Some(end));
        Todo::Nothing
    }

    /// Tells a claim that begins, where that is to be tried, that the block's writer was fenced.
    fn believe(&mut self, event: &Event) {
        let Event::Read { result: Ok(found), .. } = event else { return };
        if self.removed != Removed::FirstWatch {
            return;
        }
        match &mut self.role {
            Role::Claim(claim) if claim.phase() == Phase::Reading => {
                *claim = claim.clone().after_fencing(found.clone());
            }
            Role::Handover(handover, _) if handover.phase() == Phase::Reading => {
                *handover = handover.clone().after_fencing(found.clone());
            }
            _ => {}
        }
    }

    /// Keeps what a claim's writes are judged by; tells when the look was handed to the device.
    fn look(&mut self, event: &Event, now: Instant) -> Instant {
        let (Event::Read { submitted, result: Ok(found) }, Role::Claim(_)) = (event, &self.role)
        else {
            return now;
        };
        if self.sight.as_ref().is_none_or(|sight| sight.block != *found) {
            self.sight = Some(Sight { block: found.clone(), since: now });
        }
        *submitted
    }

    /// A claim writes over a clean block, or one that stood still for its guard interval, and puts
    /// that back only over its own.
    fn claim_writes(&mut self, block: MmpBlock, looked: Instant) -> Result<Todo, String> {
        let Some(sight) = &self.sight else {
            return Err("claim without a look".into());
        };
        let over_own = self.claimed.as_ref() == Some(&sight.block);
        if !(over_own && self.original.as_ref() == Some(&block)) {
            let c = effective_interval(UPDATE_INTERVAL, sight.block.check_interval());
            let stood = looked.since(sight.since);
            let believed = self.removed == Removed::FirstWatch;
            let clean = sight.block.sequence() == Sequence::Clean;
            if !clean && !believed && stood < guard_interval(c) {
                return Err("claim over a block that was not known to stand still".into());
            }
            self.original = Some(sight.block.clone());
            self.claimed = Some(block.clone());
            self.sight = Some(Sight { block: block.clone(), since: Instant(u64::MAX) });
        }
        Ok(Todo::Write(block))
    }

    /// Where a control has taken the verification away, it ends as soon as it begins.
    fn claim_waits(&mut self, until: Instant, now: Now) -> Result<Todo, String> {
        let Role::Claim(claim) = &self.role else {
            return Err("only a claim verifies".into());
        };
        let (Phase::Verifying { until: end }, Some(claimed)) = (claim.phase(), &self.claimed)
        else {
            return Ok(Todo::Wait(until));
        };
        match self.removed {
            Removed::Verify => {
                let result = Ok(claimed.clone());
                self.on(Event::Read { submitted: end, result }, now)
            }
            Removed::WaitOnClean if self.was_clean() => Ok(Todo::Read),
            _ => Ok(Todo::Wait(until)),
        }
    }

    /// What the machine is told in place of what happened.
    fn falsified(&self, event: Event, now: Now) -> Event {
        match (self.removed, &self.role, event) {
            (Removed::LeaseFromSubmission, Role::Hold(_), Event::Wrote { result, .. }) => {
                Event::Wrote { submitted: now.instant, result }
            }
            (Removed::WaitOnClean, Role::Claim(claim), Event::Read { submitted, result }) => {
                match claim.phase() {
                    Phase::Verifying { until } if self.was_clean() => {
                        Event::Read { submitted: until, result }
                    }
                    _ => Event::Read { submitted, result },
                }
            }
            (Removed::Settle, role, Event::Read { submitted, result }) => {
                let watching = match role {
                    Role::Claim(claim) => matches!(claim.phase(), Phase::Watching { .. }),
                    role => matches!(role, Role::Check(_)),
                };
                let early = if watching { SETTLE } else { Duration::ZERO };
                Event::Read { submitted: submitted + early, result }
            }
            (_, _, event) => event,
        }
    }
}
