//! The hub, played by a stand-in on this machine: what a pull asks for, and what it leaves.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod token;
