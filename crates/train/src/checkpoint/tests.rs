//! Checkpoints that were interrupted, broken, or had no room.

use serde_json::json;

use super::*;

fn snapshot(step: u64, values: &[f32]) -> Snapshot<'_> {
    let tensor = |name: &str| (name.to_string(), vec![values.len()], values);
    Snapshot {
        step,
        run: "settings",
        state: json!({ "cursor": step * 10 }),
        tensors: vec![
            Tensors { file: "weights", tensors: vec![tensor("a"), tensor("b")] },
            Tensors { file: "moments", tensors: vec![tensor("a.first")] },
        ],
    }
}

/// The step that loads and the first of its numbers; the whole of it is looked at.
fn loads(folder: &Folder) -> Option<(u64, f32)> {
    let loaded = folder.load("settings", false).unwrap()?;
    assert_eq!(loaded.state["cursor"], loaded.step * 10);
    let mut values = vec![0.0; 64];
    for (file, name) in [("weights", "a"), ("weights", "b"), ("moments", "a.first")] {
        loaded.read_into(file, &mut [(name.into(), &mut values)]).unwrap();
        assert!(values.iter().all(|value| *value == loaded.step as f32), "{values:?}");
    }
    Some((loaded.step, values[0]))
}

#[test]
fn the_newest_loads_and_older_ones_are_pruned() {
    let parent = tempfile::tempdir().unwrap();
    let folder = Folder::open(parent.path(), 2).unwrap();
    assert!(loads(&folder).is_none());
    for step in [1, 2, 10] {
        folder.save(&snapshot(step, &[step as f32; 64])).unwrap();
        assert_eq!(loads(&folder).unwrap().0, step);
    }
    assert_eq!(folder.steps().unwrap(), [2, 10]);
    assert_eq!(fs::read_to_string(parent.path().join("latest")).unwrap(), "step-10\n");
    let error = folder.load("others", false).unwrap_err().to_string();
    assert!(error.contains("other settings"), "{error}");
    let busy = Folder::open(parent.path(), 2).unwrap_err().to_string();
    assert!(busy.ends_with("another run writes here"), "{busy}");
}

#[test]
fn whenever_the_machine_stops_the_newest_whole_checkpoint_loads() {
    let mut n_points = 0;
    for stop_at in 0.. {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path(), 1).unwrap();
        folder.save(&snapshot(1, &[1.0; 64])).unwrap();
        let mut n = 0;
        let mut renamed = false;
        let mut stop = |what: &'static str| {
            renamed |= what == "renamed the folder";
            n += 1;
            if n > stop_at { Err(io::Error::other("stopped")) } else { Ok(()) }
        };
        // Nothing is tidied up, as after kill -9.
        let stopped = folder.save_in_steps(&snapshot(2, &[2.0; 64]), &mut stop).is_err();
        drop(folder);
        let folder = Folder::open(parent.path(), 1).unwrap();
        let (step, _) = loads(&folder).unwrap();
        assert_eq!(step, if renamed { 2 } else { 1 }, "stopped after {stop_at} actions");
        folder.save(&snapshot(3, &[3.0; 64])).unwrap();
        assert_eq!(loads(&folder).unwrap().0, 3);
        if !stopped {
            n_points = stop_at;
            break;
        }
    }
    assert!(n_points >= 12, "{n_points} points");
}

#[test]
fn a_flipped_byte_is_named_and_an_older_one_is_used_only_when_told() {
    for file in ["weights.safetensors", "moments.safetensors", "state.json", "manifest.json"] {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path(), 2).unwrap();
        for step in [1, 2] {
            folder.save(&snapshot(step, &[step as f32; 64])).unwrap();
        }
        let path = folder.at(2).join(file);
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 2] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let error = folder.load("settings", false).unwrap_err().to_string();
            assert!(error.contains(&format!("step-2/{file}: ")), "{error}");
            let older = folder.load("settings", true).unwrap().unwrap();
            assert_eq!(older.step, 1);
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(folder.load("settings", false).is_err());
        fs::remove_file(&path).unwrap();
        let error = folder.load("settings", false).unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn going_back_removes_what_came_after() {
    let parent = tempfile::tempdir().unwrap();
    let folder = Folder::open(parent.path(), 3).unwrap();
    for step in [1, 2, 3] {
        folder.save(&snapshot(step, &[step as f32; 64])).unwrap();
    }
    folder.save(&snapshot(2, &[2.0; 64])).unwrap();
    assert_eq!(folder.steps().unwrap(), [1, 2]);
}
