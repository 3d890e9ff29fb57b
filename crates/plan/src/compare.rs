//! Two models under the same traffic: what each costs at every volume, and where the cheaper one
//! changes.
//!
//! At a small volume the one that needs fewer devices wins, because they stand idle; at a large one
//! that which makes more of a device. A sparse model reads few weights for one token, but all of
//! them for many, and then shares them.

use crate::{Demand, Deployment, Error, Fleet, together};

/// One volume of traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub output_per_s: f64,
    /// All cost on output tokens, of each model.
    pub usd_per_million: [f64; 2],
    pub devices: [u64; 2],
}

/// From which volume on which model stays the cheaper one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    pub output_per_s: f64,
    /// 0 or 1.
    pub winner: usize,
}

/// Two models at every volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub points: Vec<Point>,
    /// `None` if one of them is the cheaper one from the first volume on.
    pub crossing: Option<Crossing>,
}

/// What a layout costs for a unit of traffic.
struct Unit {
    instances: f64,
    devices: u64,
    usd_per_hour: f64,
}

/// Compares two models at `volumes` of output tokens a second, ascending; prompts grow alike. Each
/// model takes the cheapest of its `candidates` at each volume.
///
/// # Errors
/// If the demand cannot be, or no candidate of a model keeps its pace.
pub fn compare(
    candidates: [&[Deployment]; 2],
    demand: &Demand,
    volumes: &[f64],
) -> Result<Comparison, Error> {
    let units = [units(candidates[0], demand)?, units(candidates[1], demand)?];
    let points: Vec<Point> = volumes
        .iter()
        .map(|&output_per_s| {
            let scale = output_per_s / demand.output_per_s;
            let cheapest = |units: &[Unit]| {
                let costs = units.iter().map(|unit| {
                    let whole = (unit.instances * scale).ceil().max(1.0);
                    (whole * unit.usd_per_hour, whole as u64 * unit.devices)
                });
                costs.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there is a candidate")
            };
            let found = [cheapest(&units[0]), cheapest(&units[1])];
            Point {
                output_per_s,
                usd_per_million: found.map(|(usd, _)| 1e6 * usd / 3600.0 / output_per_s),
                devices: found.map(|(_, devices)| devices),
            }
        })
        .collect();
    let winner = |point: &Point| usize::from(point.usd_per_million[1] < point.usd_per_million[0]);
    let crossing = points.last().map(winner).and_then(|last| {
        let lost = points.iter().rposition(|point| winner(point) != last)?;
        Some(Crossing { output_per_s: points[lost + 1].output_per_s, winner: last })
    });
    Ok(Comparison { points, crossing })
}

fn units(candidates: &[Deployment], demand: &Demand) -> Result<Vec<Unit>, Error> {
    let mut units = Vec::new();
    let mut refused = None;
    for deployment in candidates {
        match together(demand, deployment) {
            Ok(Fleet { decode, .. }) => units.push(Unit {
                instances: decode.instances,
                devices: deployment.layout.devices(),
                usd_per_hour: deployment.usd_per_hour(),
            }),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if units.is_empty() => Err(error),
        None if units.is_empty() => {
            Err(Error::Layout { what: "there is no layout to compare".into() })
        }
        _ => Ok(units),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Model, built_in, quant};

    fn on_h800(name: &str, n: u64) -> Deployment {
        let spec = spec::builtin::find(name).unwrap().spec();
        let model = Model::at(name, spec, quant("fp8").unwrap(), 2);
        let h800 = built_in("H800").unwrap();
        let layout = Layout::of_devices(&model, &h800, n);
        Deployment::new(model, h800, layout).unwrap().require(20_000).unwrap()
    }

    fn demand() -> Demand {
        Demand {
            input_per_s: 500.0,
            cached_per_s: 500.0,
            output_per_s: 4000.0,
            prompt: 1000,
            context: 8000,
            between_s: 0.05,
        }
    }

    #[test]
    fn few_users_take_the_dense_model_and_many_the_sparse_one() {
        let dense = [on_h800("Qwen2.5-72B", 2), on_h800("Qwen2.5-72B", 4)];
        let sparse = [on_h800("R1", 16), on_h800("R1", 32), on_h800("R1", 128)];
        let volumes: Vec<f64> = (0..140).map(|i| 10_f64.powf(f64::from(i) / 20.0)).collect();
        let compared = compare([&dense, &sparse], &demand(), &volumes).unwrap();
        let (first, last) = (compared.points[0], compared.points[139]);
        assert!(first.usd_per_million[0] < first.usd_per_million[1], "{first:?}");
        assert!(last.usd_per_million[1] < last.usd_per_million[0], "{last:?}");
        assert_eq!((first.devices[0], first.devices[1]), (2, 16));
        let crossing = compared.crossing.unwrap();
        assert_eq!(crossing.winner, 1);
        assert!(crossing.output_per_s > 100.0 && crossing.output_per_s < 1e6, "{crossing:?}");
        // More traffic never makes a token dearer by more than one instance.
        assert!(last.usd_per_million[1] < first.usd_per_million[1] / 100.0);
    }

    #[test]
    fn a_model_against_itself_crosses_nowhere() {
        let both = [on_h800("R1", 16)];
        let compared = compare([&both, &both], &demand(), &[1.0, 1e3, 1e6]).unwrap();
        assert_eq!(compared.crossing, None);
        assert!(compare([&both, &[]], &demand(), &[1.0]).is_err());
    }
}
