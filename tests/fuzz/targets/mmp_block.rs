//! The MMP block: any 1024 bytes, and the machines of the protocol over blocks and events that any
//! further bytes stand for.

use std::time::Duration;

use mmp::layout::{BlockNumber, ByteOffset, Invalid, MMP_MAGIC, MmpArea, MmpBlock, MmpChecksum};
use mmp::protocol::{
    Action, Check, Claim, ClaimOutcome, ClaimRequest, Confirm, Event, Handover, HandoverMode, Hold,
    HoldRequest, Instant, IoFault, Lookout, Machine, NeverWrites, Now, ReadError, ReadResult,
    Still, Verdict, Write,
};
use mmp::report::{BlockFields, describe_found, describe_verdict, mmp_lines};

use super::{assert_printable, bounded, take};

const SEED: MmpChecksum = MmpChecksum::Crc32c { seed: 0x5EED };

pub(super) fn mmp_block(data: &[u8]) -> bool {
    let (raw, events) = take(data);
    bounded(1024, || {
        let block = MmpBlock::from_bytes(raw);
        for checksum in [MmpChecksum::None, SEED] {
            examine(&block, checksum);
        }
        run(&block, events)
    })
}

fn examine(block: &MmpBlock, checksum: MmpChecksum) {
    let (number, offset) = (BlockNumber(7), ByteOffset(7 * 4096));
    let area = MmpArea { block: number, offset, checksum, update_interval: 5 };
    let device = "/dev/disk".as_ref();
    let mut verdict = Verdict::Fsck { block: block.clone() };
    if let Err(why) = block.verify(checksum) {
        assert_printable(&why.to_string());
        verdict = Verdict::Invalid { block: block.clone(), why };
    }
    assert_printable(&describe_verdict(device, number, &verdict));
    assert_printable(&describe_found(Some(block)));
    assert_printable(&mmp_lines(block));
    let fields = serde_json::to_string(&BlockFields::new(block, &area)).expect("JSON");
    assert_printable(&fields);
    // What is written is read back as what was meant.
    let sealed = MmpBlock::from_bytes(block.sealed(checksum));
    assert!(sealed == *block && sealed.as_bytes()[..1020] == block.as_bytes()[..1020]);
    let fault = sealed.verify(checksum);
    assert_eq!(fault.is_ok(), block.magic() == MMP_MAGIC);
    assert!(!matches!(fault, Err(Invalid::Checksum { .. })));
    let other = MmpBlock::from_bytes([0; 1024])
        .with_sequence(block.sequence())
        .with_time(block.time())
        .with_names(&block.names())
        .with_check_interval(block.check_interval());
    assert_eq!(other.sequence().raw(), block.sequence().raw());
    assert_eq!((other.time(), other.names()), (block.time(), block.names()));
    assert_eq!(other.nodename().to_string(), block.nodename().to_string());
    assert_eq!(other.check_interval(), block.check_interval());
}

/// What drives the machines: bytes, read off one after the other.
struct Script<'a> {
    bytes: &'a [u8],
    disk: MmpBlock,
    now: u64,
}

/// A script that goes on for ever stops here.
const STEPS: usize = 4096;

fn run(block: &MmpBlock, script: &[u8]) -> bool {
    let (setting, bytes) = take::<8>(script);
    let update_interval = u16::from_le_bytes([setting[0], setting[1]]);
    let interval = Duration::from_millis(1 + u64::from(setting[2]) * 100);
    let patience = if setting[3] & 1 == 0 { 0 } else { u64::MAX };
    let hold = HoldRequest { update_interval, interval };
    let request = || ClaimRequest {
        update_interval,
        check_interval: hold.check_interval(Duration::ZERO),
        names: block.names(),
        draw: u32::from_le_bytes([setting[4], setting[5], setting[6], setting[7]]),
        patience: Instant(patience),
    };
    let script = || Script { bytes, disk: block.clone(), now: 1 << 40 };
    let guard = setting[3] & 2 != 0;
    script().read_only(Check::new(update_interval, guard, Instant(patience)));
    script().read_only(Still::new(update_interval));
    script().read_only(Confirm::new(update_interval));
    script().read_only(Lookout::new(block.clone(), Instant(1 << 40), update_interval));
    let mode = match setting[3] >> 2 & 3 {
        0 => HandoverMode::Guard,
        1 => HandoverMode::Strict,
        _ => HandoverMode::Check,
    };
    let writes = |write: &Write, _: &Handover, _| assert!(mode != HandoverMode::Check, "{write:?}");
    script().drive(&mut Handover::new(mode, request()), writes);
    let mut script = script();
    let claimed = script.drive(&mut Claim::new(request()), |_, _, _| {});
    if let Some(ClaimOutcome::Claimed(claimed)) = claimed {
        let writes = |_: &Write, hold: &Hold, now| assert!(now < hold.lease(), "after a loss");
        script.drive(&mut Hold::new(claimed, hold), writes);
    }
    // Whatever came of it.
    true
}

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// Time goes on: mostly a little, now and then for as long as there is.
    fn pass(&mut self, how: u8) {
        let step = 1u64 << (how & 63);
        self.now = self.now.saturating_add(step);
    }

    fn read(&mut self, how: u8) -> ReadResult {
        let block = self.disk.clone();
        match how {
            0..=3 => Err(ReadError::Io(IoFault(i32::from(how) * 5))),
            4 => {
                let why = Invalid::Checksum { stored: 0, computed: 1 };
                Err(ReadError::Invalid { block: Box::new(block), why })
            }
            5 => {
                let why = Invalid::Magic { found: 0 };
                Err(ReadError::Invalid { block: Box::new(block), why })
            }
            6..=15 => {
                // Somebody else wrote four bytes of it.
                let place = usize::from(self.byte().unwrap_or(4));
                let mut raw = *block.as_bytes();
                for byte in &mut raw[place..place + 4] {
                    *byte = self.byte().unwrap_or(*byte);
                }
                self.disk = MmpBlock::from_bytes(raw);
                Ok(self.disk.clone())
            }
            _ => Ok(block),
        }
    }

    fn read_only(&mut self, mut machine: impl Machine<Write = NeverWrites>) {
        self.steps(&mut machine, |never, _, _, _| match never {});
    }

    fn drive<M: Machine<Write = Write>>(
        &mut self,
        machine: &mut M,
        check: impl Fn(&Write, &M, Instant),
    ) -> Option<M::Outcome> {
        self.steps(machine, |write, machine, now, disk| {
            check(&write, machine, now);
            *disk = write.block;
        })
    }

    /// Answers what the machine asks for, as the script says, until either is at its end.
    fn steps<M: Machine>(
        &mut self,
        machine: &mut M,
        write: impl Fn(M::Write, &M, Instant, &mut MmpBlock),
    ) -> Option<M::Outcome> {
        let mut event = Event::Begin;
        for _ in 0..STEPS {
            let now = Now { instant: Instant(self.now), wall: self.now };
            let action = machine.on(event, now);
            let _ = machine.phase();
            let how = self.byte()?;
            let submitted = Instant(self.now);
            event = match action {
                Action::Done(outcome) => return Some(outcome),
                Action::Read => {
                    let result = self.read(how >> 3);
                    self.pass(how & 7);
                    Event::Read { submitted, result }
                }
                Action::Write(wanted) => {
                    let mut landed = self.disk.clone();
                    write(wanted, machine, submitted, &mut landed);
                    if how & 1 == 0 {
                        self.disk = landed;
                    }
                    self.pass(how >> 2);
                    Event::Wrote {
                        submitted,
                        result: if how & 2 == 0 { Ok(()) } else { Err(IoFault(5)) },
                    }
                }
                Action::Wait(_) if how & 3 == 3 => Event::Stop,
                Action::Wait(until) => {
                    self.now = self.now.max(until.0);
                    self.pass(how >> 2);
                    Event::Timer
                }
            };
        }
        None
    }
}
