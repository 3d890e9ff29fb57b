//! The sandbox refuses what a program may not do, and the verdict on a program isn't its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use ruminate_verifiers::code::{Code, Literal, Test};
use ruminate_verifiers::sandbox::{End, Entry, Error, Interpreter, Launcher, Limits, Sandbox};
use ruminate_verifiers::{Task, Verifier};

fn launcher() -> Launcher {
    Launcher { program: env!("CARGO_BIN_EXE_sandbox-child").into(), arguments: Vec::new() }
}

fn sandbox(limits: Limits) -> Sandbox {
    Sandbox::new(launcher(), Interpreter::system(), limits).expect("this machine has every wall")
}

/// Generous, for a machine with much else to do.
const LIMITS: Limits = Limits { wall_ms: 60_000, ..Limits::DEFAULT };

/// What a script prints, with its end.
fn run(sandbox: &Sandbox, source: &str) -> (End, String) {
    let outcome = sandbox.run(source, Entry::Main { stdin: "3 4\n" }).expect("a child starts");
    let stderr = String::from_utf8_lossy(&outcome.stderr).into_owned();
    (outcome.end, String::from_utf8_lossy(&outcome.stdout).into_owned() + &stderr)
}

#[test]
fn a_program_reads_its_input_and_has_the_standard_library() {
    let source = "import json, math, collections, itertools, re, heapq, random, datetime\n\
                  a, b = map(int, input().split())\nprint(json.dumps([a + b, math.gcd(a, b)]))\n\
                  open('mine', 'w').write('x')\nprint(open('mine').read(), __name__)";
    assert_eq!(run(&sandbox(LIMITS), source), (End::Exited(0), "[7, 1]\nx __main__\n".into()));
}

#[test]
fn a_program_sees_no_home_no_secrets_and_no_other_program() {
    // What the test can read, the program can't.
    let secret = std::env::temp_dir().join(format!("verifiers-secret-{}", std::process::id()));
    std::fs::write(&secret, "hunter2").unwrap();
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let source = format!(
        "import os\n\
         for path in ['/etc/shadow', '/etc/passwd', '/root', '/home', '/proc/1/environ', '/sys',\n\
                      '/proc/self/environ', '/dev/mem', '/work/../etc/hosts', {secret:?}, {home:?}]:\n\
         \x20   try:\n\
         \x20       os.listdir(path) if os.path.isdir(path) else open(path)\n\
         \x20       print('read', path)\n\
         \x20   except OSError: pass\n\
         print(sorted(os.environ), os.getpid())"
    );
    let (end, said) = run(&sandbox(LIMITS), &source);
    std::fs::remove_file(secret).unwrap();
    let environment = "['HOME', 'PYTHONHASHSEED', 'PYTHONUTF8'] 1\n";
    let environment_lc = "['HOME', 'LC_CTYPE', 'PYTHONHASHSEED', 'PYTHONUTF8'] 1\n";
    assert_eq!(end, End::Exited(0), "{said}");
    assert!(said == environment || said == environment_lc, "{said}");
}

#[test]
fn a_program_connects_to_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = format!("import socket\nsocket.create_connection(('127.0.0.1', {port}))");
    let (end, said) = run(&sandbox(LIMITS), &source);
    assert_eq!(end, End::Exited(1));
    assert!(said.contains("PermissionError"), "{said}");
    let kind = listener.accept().unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::WouldBlock, "nobody came");
}

#[test]
fn a_fork_bomb_does_not_go_off() {
    let sandbox = sandbox(LIMITS);
    let forks = "import os\nwhile True:\n    os.fork()";
    let (end, said) = run(&sandbox, forks);
    assert!(end == End::Exited(1) && said.contains("PermissionError"), "{end:?} {said}");
    let spawns = "import subprocess\nsubprocess.run(['/bin/sh'])";
    assert_eq!(run(&sandbox, spawns).0, End::Exited(1));
    let threads = "import threading, time\nn = 0\ntry:\n    while n < 1000:\n        \
                   threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n        \
                   n += 1\nexcept RuntimeError: pass\nimport os\n\
                   os.write(1, b'%d' % n)\nos._exit(0)";
    let (end, said) = run(&sandbox, threads);
    assert_eq!(end, End::Exited(0), "{said}");
    let started: u64 = said.parse().unwrap();
    assert!((1..=LIMITS.threads).contains(&started), "{started} threads");
}

#[test]
fn a_program_fills_neither_disk_nor_memory_nor_the_pipe() {
    let limits = Limits { disk_bytes: 1 << 20, output_bytes: 1 << 16, ..LIMITS };
    let sandbox = sandbox(LIMITS).with_limits(limits);
    let files = "n = 0\ntry:\n    for i in range(100):\n        with open(str(i), 'wb') as f:\n            \
                 n += f.write(bytes(1 << 16))\nexcept OSError as e: print(e.errno)\nprint(n <= 1 << 20)";
    assert_eq!(run(&sandbox, files), (End::Exited(0), "28\nTrue\n".into()));
    let memory = "x = bytearray(1 << 40)";
    assert!(run(&sandbox, memory).1.contains("MemoryError"));
    let output = "while True: print('x' * 1000)";
    let outcome = sandbox.run(output, Entry::Main { stdin: "" }).unwrap();
    assert_eq!((outcome.end, outcome.stdout.len()), (End::OutputTooLong, 1 << 16));
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_all_its_threads() {
    let sandbox = sandbox(LIMITS);
    let brief = sandbox.with_limits(Limits { wall_ms: 3000, ..LIMITS });
    let source = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n\
                  while True: pass";
    assert_eq!(run(&brief, source).0, End::TimedOut);
    let busy = sandbox.with_limits(Limits { cpu_s: 1, wall_ms: 600_000, ..LIMITS });
    let signalled = End::Exited(128 + 9);
    assert_eq!(run(&busy, "while True: pass").0, signalled);
}

#[test]
fn a_program_traces_and_kills_nobody() {
    let sandbox = sandbox(LIMITS);
    let source = "import ctypes, os, signal\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        def errno(result): return ctypes.get_errno() if result < 0 else 0\n\
        parent = os.getppid()\n\
        print(parent, errno(libc.ptrace(16, 1, 0, 0)), errno(libc.ptrace(0, 0, 0, 0)))\n\
        for pid in (0, -1, 1, parent):\n\
        \x20   try:\n\
        \x20       os.kill(pid, signal.SIGKILL)\n\
        \x20       print('killed', pid)\n\
        \x20   except PermissionError: pass\n\
        for name, args in [('setsid', ()), ('unshare', (0x10000000,)), ('mount', (0, 0, 0, 0, 0)),\n\
        \x20                  ('setns', (0, 0)), ('chroot', (b'/',)), ('setuid', (0,))]:\n\
        \x20   print(name, errno(getattr(libc, name)(*args)))\n";
    let (end, said) = run(&sandbox, source);
    assert_eq!(end, End::Exited(0), "{said}");
    let refused = "0 1 1\nsetsid 1\nunshare 1\nmount 1\nsetns 1\nchroot 1\nsetuid 1\n";
    assert_eq!(said, refused);
}

#[test]
fn a_run_leaves_nothing_to_the_next() {
    let sandbox = sandbox(LIMITS);
    let plant = "for name in ('sitecustomize.py', 'usercustomize.py', 'json.py', 'os.py'):\n    \
                 open(name, 'w').write('print(\"planted\")')\nprint('done')";
    assert_eq!(run(&sandbox, plant), (End::Exited(0), "done\n".into()));
    let look = "import json, os\nprint(sorted(os.listdir()))";
    let files = "['runner.py', 'solution.py']\n";
    assert_eq!(run(&sandbox, look), (End::Exited(0), files.into()));
}

fn value_test(call: &str, expected: &str) -> Test {
    let expected = Literal::parse(expected).expect("the test's own literal");
    Test::Value { call: call.into(), expected }
}

fn why(code: &Code, program: &str, tests: &[Test]) -> (f32, String) {
    let task = Task { tests: tests.to_vec(), ..Task::default() };
    let score = code.score(&task, &format!("<think>hm</think>\n```python\n{program}\n```"));
    (score.value, score.why.into_owned())
}

#[test]
fn programs_are_right_by_what_they_compute() {
    let code = Code { sandbox: sandbox(LIMITS) };
    let add = [value_test("add(1, 2)", "3"), value_test("add([1], [2])", "[1, 2]")];
    let right = "def add(a, b):\n    print('noise')\n    return a + b";
    assert_eq!(why(&code, right, &add), (1.0, "2 tests passed".into()));
    let half = "def add(a, b):\n    return 3";
    assert_eq!(why(&code, half, &add), (0.0, "test 2: different".into()));
    let (value, said) = why(&code, "def sub(a, b): pass", &add);
    assert!(value == 0.0 && said.contains("NameError"), "{said}");
    let echo = Test::Output { stdin: "a\nb\n".into(), stdout: "b \na\n\n".into() };
    let reverse = "import sys\nprint(*reversed(sys.stdin.read().split()), sep='\\n')";
    assert_eq!(why(&code, reverse, std::slice::from_ref(&echo)).0, 1.0);
    assert_eq!(why(&code, "print(input())", &[echo]).1, "test 1: different");
    assert_eq!(why(&code, "x = 1", &[]).1, "the task has no tests");
}

#[test]
fn a_program_can_not_write_its_own_verdict() {
    let code = Code { sandbox: sandbox(LIMITS) };
    let tests = [value_test("f(20)", "6765")];
    let hostile = [
        // It ends well without an answer.
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "def f(n): raise SystemExit(0)",
        "import atexit, os\natexit.register(os._exit, 0)",
        // It answers, with something that is equal to everything.
        "class Any:\n    def __eq__(self, other): return True\ndef f(n): return Any()",
        "class Any(int):\n    def __eq__(self, other): return True\ndef f(n): return Any()",
        "class Any(int):\n    def __repr__(self): return '6765'\ndef f(n): return Any()",
        // It writes what a harness might.
        "print('PASS')\nprint('{\"score\": 1.0, \"why\": \"equal\"}')\ndef f(n): return True",
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'1.0')\n    except OSError: pass\nos._exit(0)",
        // It looks for the answer in files, in frames and in its arguments.
        "import sys, os\ndef f(n):\n    seen = repr(sys.argv) + ''.join(open(p).read() for p in os.listdir())\n    \
         frame = sys._getframe(1)\n    while frame:\n        seen += repr(frame.f_locals)\n        \
         frame = frame.f_back\n    return 6760 + 5 if str(6760 + 5) in seen else 0",
        // It takes the comparison's tools away.
        "import builtins\nbuiltins.repr = lambda v: '6765 '\nbuiltins.type = lambda v: int\ndef f(n): return 1 / 0",
        "def f(n): return f",
    ];
    for program in hostile {
        let (value, said) = why(&code, program, &tests);
        assert_eq!(value, 0.0, "{program}\n{said}");
    }
}

#[test]
fn without_a_wall_there_is_no_sandbox() {
    let fails = |launcher: Launcher, interpreter: Interpreter| {
        Sandbox::new(launcher, interpreter, LIMITS).unwrap_err()
    };
    // A child whose program could do what it must not.
    let leaky = Launcher {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), "cat >/dev/null; echo 'opening a socket; done'".into()],
    };
    let error = fails(leaky, Interpreter::system());
    assert!(matches!(&error, Error::Leaks { leaks } if leaks == "opening a socket"), "{error}");
    let nowhere = Launcher { program: "/no/such/program".into(), arguments: Vec::new() };
    assert!(matches!(fails(nowhere, Interpreter::system()), Error::Start(_)));
    let no_python = Interpreter { program: "/usr/bin/no-python".into(), ..Interpreter::system() };
    let error = fails(launcher(), no_python).to_string();
    assert!(error.contains("starting /usr/bin/no-python"), "{error}");
    let unreadable = Interpreter { readable: Vec::new(), ..Interpreter::system() };
    assert!(matches!(fails(launcher(), unreadable), Error::Unavailable { .. }));
}

#[test]
fn the_sandbox_dies_with_its_parent() {
    // A parent that is killed while a program runs: what it printed to is closed by the end of all.
    let mut parent = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox-child"))
        .args(["outer"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let order = serde_json::json!({
        "interpreter": Interpreter::system(),
        "limits": Limits { cpu_s: 3600, ..LIMITS },
        "source": "print('up', flush=True)\nwhile True: pass",
        "expression": null,
    })
    .to_string();
    use std::io::{Read, Write};
    let stdin = parent.stdin.as_mut().unwrap();
    stdin.write_all(&(order.len() as u64).to_le_bytes()).unwrap();
    stdin.write_all(order.as_bytes()).unwrap();
    let mut stdout = parent.stdout.take().unwrap();
    let mut up = [0; 3];
    stdout.read_exact(&mut up).unwrap();
    assert_eq!(&up, b"up\n");
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The end of the file comes only once the last process that could write to it is gone.
    let (sender, receiver) = std::sync::mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "a read that never ends must not hang the test")]
    std::thread::spawn(move || sender.send(stdout.read_to_end(&mut Vec::new()).is_ok()));
    assert_eq!(receiver.recv_timeout(Duration::from_secs(120)), Ok(true));
}
