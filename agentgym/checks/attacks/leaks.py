"""What one session leaves for another: modules, files, shared memory, locks. Each looks from a second session."""

from __future__ import annotations

from agentgym.checks.attacks.attack import Attack
from agentgym.checks.attacks.judges import unseen

ATTACKS = (
    Attack(
        "modules",
        "what a program changes in a module, loaded before or not, no other session sees",
        """
import builtins, decimal, json, random
for module in [builtins, decimal, json, random, *sys.modules.values()]:
    try: setattr(module, mark, 1)
    except Exception: pass
print('attack carried out')
""",
        unseen("""
import builtins, decimal, json, random
for name, module in list(sys.modules.items()):
    if hasattr(module, mark): print(name); delattr(module, mark)
print('attack carried out')
"""),
    ),
    Attack(
        "files",
        "no file of one session is in another, wherever it may write",
        """
for folder in ('.', '/tmp', '/var/tmp', '/dev/shm', '/run', '/dev/mqueue', os.path.expanduser('~')):
    try: open(f'{folder}/{mark}', 'w').close()
    except OSError: pass
print('attack carried out')
""",
        unseen("""
for folder in ('.', '/tmp', '/var/tmp', '/dev/shm', '/run', '/dev/mqueue', os.path.expanduser('~')):
    if os.path.lexists(f'{folder}/{mark}'): print(folder); os.remove(f'{folder}/{mark}')
print('attack carried out')
"""),
        needs="files",
    ),
    Attack(
        "System V objects",
        "shared memory, semaphores and message queues do not pass from one session to another",
        """
key = int(mark[3:10], 16)
made = libc.shmget(key, 4096, 0o1666), libc.semget(key, 1, 0o1666), libc.msgget(key, 0o1666)
print('attack carried out')
""",
        unseen("""
key = int(mark[3:10], 16)
memory, semaphore, queue = libc.shmget(key, 0, 0), libc.semget(key, 0, 0), libc.msgget(key, 0)
if memory >= 0: print('shared memory'); libc.shmctl(memory, 0, None)
if semaphore >= 0: print('a semaphore'); libc.semctl(semaphore, 0, 0)
if queue >= 0: print('a queue'); libc.msgctl(queue, 0, None)
print('attack carried out')
"""),
        needs="processes",
    ),
    Attack(
        "locks",
        "a lock on a file that all sessions have does not show in another",
        """
import fcntl
held = open(os.__file__, 'rb')
try: fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError: pass
print('attack carried out')
""",
        unseen("""
import fcntl
try: fcntl.flock(open(os.__file__, 'rb'), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: print('a lock of the first session')
except OSError: pass
print('attack carried out')
"""),
        needs="system calls",
    ),
    Attack(
        "environment and folder",
        "neither variables nor the working directory nor the umask nor limits pass to another session",
        """
import resource
os.environ[mark] = '1'
os.umask(0o123)
os.chdir('/')
try: resource.setrlimit(resource.RLIMIT_NOFILE, (77, 77))
except (OSError, ValueError): pass
print('attack carried out')
""",
        unseen("""
import resource
if mark in os.environ: print('a variable')
if os.umask(0o22) == 0o123: print('the umask')
if os.getcwd() == '/': print('the folder')
if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == 77: print('a limit')
print('attack carried out')
"""),
    ),
)
