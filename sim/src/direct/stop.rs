//! The broker ends in order, as by SIGTERM, and as the real host does it: it accepts nobody and takes no request any more,
//! answers what it has taken, but not for ever, ends its connections, and closes its logs; then the process is gone. What
//! its shards would still want of the disk nobody asks for.
//!
//! A crash may come at any time before that; whoever is to start it again comes after it has ended, however it did.

use super::net::ToClient;
use super::params::SECOND;
use super::{Event, Sim};
use klamm_core::effect::Input;
use klamm_core::ids::{ConnectionId, LogId};

/// How long answers may take, as in the real host.
const DRAIN: u64 = 5 * SECOND;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It answers what it was asked.
    Drains,
    /// Its shards are gone, its logs are being closed.
    Closes,
}

/// An end in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    pub(super) stage: Stage,
    /// It is to start again so long after it has ended.
    down: Option<u64>,
    /// What it draws with.
    key: u64,
}

impl Sim {
    /// Tells the broker to end; it serves, and was not told before. It starts again after `down`, if somebody is to see to
    /// that.
    pub(super) fn stop(&mut self, key: u64, down: Option<u64>) {
        assert!(self.broker.is_serving(), "only who serves is told to stop");
        self.say(|| "the broker is told to stop".to_owned());
        self.count("stops");
        self.broker.stop = Some(Stop { stage: Stage::Drains, down, key });
        self.broker.serve_no_more();
        let life = self.broker.life;
        self.heap.push(self.now + DRAIN, Event::Drained { life });
    }

    /// Something has happened while the broker ends.
    pub(super) fn goes_down(&mut self) {
        let Some(Stop { stage, .. }) = self.broker.stop else { return };
        if self.broker_stands_still() {
            return;
        }
        if stage == Stage::Drains && self.finish() {
            self.close_logs();
        }
        if self.broker.is_closing() && self.broker.disk.rests() {
            self.ends();
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn drained(&mut self) {
        if self.broker.stop.is_some_and(|stop| stop.stage == Stage::Drains) {
            self.count("stops that leave questions");
            self.close_logs();
        }
    }

    /// Ends the connections that nothing is owed; tells whether there is none left.
    fn finish(&mut self) -> bool {
        while let Some((name, shard)) = self.net.owed_nothing() {
            self.net.finish(name);
            self.tell(name, ToClient::Closed);
            self.step(shard, Input::Closed { conn: ConnectionId(name) });
            self.net.forget_if_over(name);
        }
        !self.net.any_accepted()
    }

    /// The shards are gone, and with them what they owe.
    fn close_logs(&mut self) {
        let Some(stop) = &mut self.broker.stop else { return };
        stop.stage = Stage::Closes;
        let key = stop.key;
        self.say(|| "the broker closes its logs".to_owned());
        self.shards_end(false, key);
        let life = self.broker.life;
        for (log, delay) in self.broker.disk.close(self.now) {
            self.heap.push(self.now + delay, Event::DiskEnd { life, shard: 0, log });
        }
    }

    /// What was under way at a log ends, and nobody is left to be told.
    pub(super) fn closing_ended(&mut self, log: LogId) {
        if let (_, Some(delay)) = self.broker.disk.end(self.now, log) {
            let life = self.broker.life;
            self.heap.push(self.now + delay, Event::DiskEnd { life, shard: 0, log });
        }
    }

    /// The process is gone.
    fn ends(&mut self) {
        let Some(Stop { down, key, .. }) = self.broker.stop.take() else { return };
        self.say(|| "the broker has stopped".to_owned());
        self.count("clean stops");
        self.broker.is_gone();
        // Logs that have failed are as after a kill; of the others nothing is in doubt.
        self.broker.disk.crash(false, key);
        if let Some(down) = down {
            self.heap.push(self.now + down, Event::Start);
        }
    }
}
