//! Compares two histories up to a one-to-one mapping of addresses.

use std::collections::HashMap;

use framewalk::memory::Address;

use super::story::{Part, StoryLine, Value};

/// The mapping between the addresses of the real and the simulated interpreter.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairing {
    simulated: HashMap<Address, Address>,
    real: HashMap<Address, Address>,
}

impl Pairing {
    /// Whether the two addresses are a pair, or can become one. NULL pairs with NULL.
    fn addresses(&mut self, real: Address, simulated: Address) -> bool {
        if real == 0 || simulated == 0 {
            return real == simulated;
        }
        let known = *self.simulated.entry(real).or_insert(simulated);
        let back = *self.real.entry(simulated).or_insert(real);
        known == simulated && back == real
    }

    fn values(&mut self, real: Value, simulated: Value) -> bool {
        match (real, simulated) {
            (Value::Frame(real), Value::Frame(simulated)) => self.addresses(real, simulated),
            (Value::Number(real), Value::Number(simulated)) => real == simulated,
            _ => false,
        }
    }

    fn parts(&mut self, real: &Part, simulated: &Part) -> bool {
        match (real, simulated) {
            (&Part::Thread(word, real), &Part::Thread(other, simulated)) => {
                word == other && self.values(real, simulated)
            }
            (&Part::Frame(real), &Part::Frame(simulated)) => self.addresses(real, simulated),
            // No frame is its own caller: this marks a frame that is gone.
            (&Part::Previous(real, _), &Part::Previous(simulated, same)) if simulated == same => {
                self.addresses(real, simulated)
            }
            (&Part::Previous(real, above), &Part::Previous(simulated, other)) => {
                self.addresses(real, simulated) && self.addresses(above, other)
            }
            (&Part::Chunk(real, size), &Part::Chunk(simulated, other)) => {
                size == other && self.addresses(real, simulated)
            }
            (Part::Other, Part::Other) => true,
            _ => false,
        }
    }

    /// Whether both entries are the same.
    pub(super) fn same(&mut self, real: &StoryLine, simulated: &StoryLine) -> bool {
        match (real, simulated) {
            (StoryLine::Sample(real), StoryLine::Sample(simulated)) => real == simulated,
            (StoryLine::Stored(word, real), StoryLine::Stored(other, simulated)) => {
                word == other && self.values(*real, *simulated)
            }
            (StoryLine::Access(at, kind, real), StoryLine::Access(point, other, simulated)) => {
                (at, kind, real.len()) == (point, other, simulated.len())
                    && real.iter().zip(simulated).all(|(real, simulated)| self.parts(real, simulated))
            }
            (StoryLine::Chain(real), StoryLine::Chain(simulated)) => {
                real.len() == simulated.len()
                    && real.iter().zip(simulated).all(|(real, simulated)| {
                        real.named == simulated.named && self.addresses(real.address, simulated.address)
                    })
            }
            (StoryLine::Answer(real), StoryLine::Answer(simulated)) => real == simulated,
            _ => false,
        }
    }
}
