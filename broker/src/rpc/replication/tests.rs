//! Both sides of a session with the decisions of both replicas, in orders by chance.

mod exchange;

use self::exchange::Exchange;

/// Some numbers after each other; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

#[test]
fn whatever_the_order_the_follower_ends_with_the_leaders_log_and_gets_each_batch_once() {
    for seed in 0..300 {
        let (mut exchange, mut dice) = (Exchange::parted(), Dice(seed));
        for _ in 0..400 {
            exchange.step(dice.roll(8));
        }
        for _ in 0..200 {
            (1..8).for_each(|step| exchange.step(step));
        }
        assert!(exchange.is_settled(), "seed {seed}");
        // The first two were there, the other three of the epoch before are gone.
        let came = exchange.sides[0].batches.len() - 2;
        assert_eq!(exchange.batches_sent, came, "seed {seed}");
    }
}

#[test]
fn connections_that_break_cost_repetition_and_nothing_else() {
    for seed in 0..300 {
        let (mut exchange, mut dice) = (Exchange::parted(), Dice(seed));
        for _ in 0..400 {
            exchange.step(dice.roll(8));
            if dice.roll(40) == 0 {
                exchange.reconnect();
            }
        }
        exchange.reconnect();
        for _ in 0..200 {
            (1..8).for_each(|step| exchange.step(step));
        }
        assert!(exchange.is_settled(), "seed {seed}");
    }
}
