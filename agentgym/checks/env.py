"""What every environment promises."""

from __future__ import annotations

import asyncio
import pickle
import random
import re
import sys

from agentgym.checks.harness import Broken, CheckResult, expect, run_checks
from agentgym.checks.leftovers import no_leftovers
from agentgym.checks.world import find_middle, open_world, over, play, stay_silent
from agentgym.env import EnvConfig, Snapshot
from agentgym.gym import as_text

TASKS = 16
MAX_LEAKS = 0.1
"""Share of prompts that may hold their answer by chance."""


async def check_env(config: EnvConfig, episode_timeout: float = 60.0) -> list[CheckResult]:
    """Every check on `config`. episode_timeout: seconds that one check, and so every episode in it, may take."""
    return await run_checks(config, CHECKS, episode_timeout)


async def same_seed_same_episode(config: EnvConfig) -> str:
    episodes = []
    for _ in range(2):
        async with open_world(config) as world:
            episodes.append([await play(world.make(), seed) for seed in range(4)])
    for seed, (one, two) in enumerate(zip(*episodes, strict=True)):
        expect(one.task == two.task, f"seed {seed} draws task {one.task!r}, and then {two.task!r}")
        expect(one.opening == two.opening, f"seed {seed}: the same task opens differently the second time")
        expect(one.results == two.results, f"seed {seed}: the same actions are answered differently")
    return "4 demonstrated episodes played twice"


async def fork_is_isolated(config: EnvConfig) -> str:
    async with open_world(config) as world:
        middle = await find_middle(world)
        parent, control = [await middle.reach(world.make()) for _ in range(2)]
        before = parent.state_key()
        twin, other = [world.adopt(await parent.fork()) for _ in range(2)]
        for fork in (twin, other):
            expect(fork.state_key() == before, "the state_key of a fork is not its parent's")
        answer = await twin.step(middle.action)
        expect(parent.state_key() == before, "a step in a fork changes its parent's state_key")
        if not over(answer):
            await twin.step("")
        await other.step("")
        expect(twin.state_key() != other.state_key(), "two forks have one state_key after different actions")
        here, there = await parent.step(middle.action), await control.step(middle.action)
        expect(here == there, f"what forks did reaches their parent: it sees {here}, a world alone {there}")
        expect(answer == there, f"a fork goes on differently: it sees {answer}, a world alone {there}")
    return f"2 forks after {len(middle.actions)} action(s), all three worlds apart"


async def snapshot_restores(config: EnvConfig) -> str:
    async with open_world(config) as world:
        middle = await find_middle(world)
        env = await middle.reach(world.make())
        data = pickle.dumps(await env.snapshot())
        copy = world.make()
        await copy.restore(pickle.loads(data))
        expect(copy.state_key() == env.state_key(), "a restored snapshot has another state_key")
        elsewhere = await _restored_elsewhere(config, pickle.loads(data))
        expect(elsewhere == env.state_key(), "restored in another process, a snapshot has another state_key")
        here, there = await env.step(middle.action), await copy.step(middle.action)
        expect(here == there, f"a restored episode goes on differently: it sees {there}, not {here}")
    return "in this process and in another"


async def _restored_elsewhere(config: EnvConfig, snapshot: Snapshot) -> str:
    """The state_key in another process. A plugin's module goes along as the path of its file."""
    module = type(config).__module__
    file = getattr(sys.modules[module], "__file__", None)
    request = pickle.dumps((sys.path, module, file, pickle.dumps((config, snapshot))))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agentgym.checks.restore"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        key, complaint = await process.communicate(request)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise Broken(f"another process cannot restore the snapshot: {''.join(last) or process.returncode}")
    return key.decode().strip()


async def close_twice(config: EnvConfig) -> str:
    async with open_world(config) as world:
        fresh = world.make()
        await fresh.close()
        await fresh.close()
        middle = await find_middle(world)
        env = await middle.reach(world.make())
        await env.close()
        await env.close()
    return "before an episode and in the middle of one"


async def episodes_end(config: EnvConfig) -> str:
    async with open_world(config) as world:
        turns = [len((await play(world.make(), seed)).results) for seed in range(4)]
    return f"4 demonstrated episodes of {min(turns)} to {max(turns)} turn(s)"


async def nothing_left_behind(config: EnvConfig) -> str:
    async with no_leftovers(), open_world(config) as world:
        middle = await find_middle(world)
        env = await middle.reach(world.make())
        world.adopt(await env.fork())
    return "no process, temporary file, task or descriptor"


async def oracle_beats_silence(config: EnvConfig) -> str:
    async with open_world(config) as world:
        env = world.make()
        oracle = sum([(await play(env, seed)).total for seed in range(TASKS)]) / TASKS
        silent = sum([await stay_silent(env, seed) for seed in range(TASKS)]) / TASKS
    expect(oracle > silent, f"the demonstrator's mean return is {oracle:g}, that of empty answers {silent:g}")
    return f"mean return {oracle:g} against {silent:g} on {TASKS} tasks"


async def live_env_is_not_pickled(config: EnvConfig) -> str:
    async with open_world(config) as world:
        env = world.make()
        await env.reset(seed=0)
        try:
            pickle.dumps(env)
        except TypeError as error:
            return str(error)
    raise Broken("a live environment was pickled; its copy would drive the original's handles")


async def answer_not_in_prompt(config: EnvConfig) -> str:
    """A word-by-word search, for answers of at least 4 characters: shorter ones occur by chance."""
    tasks = [task for task in config.source().draw(TASKS, random.Random(0)) if len(task.answer) >= 4]
    async with open_world(config) as world:
        env = world.make()
        leaks = []
        for task in tasks:
            opening, _ = await env.reset(seed=0, options={"task": task})
            if re.search(rf"(?<!\w){re.escape(task.answer)}(?!\w)", as_text(opening)):
                leaks.append(task)
    shown = "".join(f"; task {task.id!r} shows {task.answer!r}" for task in leaks[:2])
    expect(len(leaks) <= MAX_LEAKS * len(tasks), f"{len(leaks)} of {len(tasks)} prompts hold their answer{shown}")
    return f"{len(tasks)} of {TASKS} answers long enough to look for"


CHECKS = (
    same_seed_same_episode,
    fork_is_isolated,
    snapshot_restores,
    close_twice,
    episodes_end,
    nothing_left_behind,
    oracle_beats_silence,
    live_env_is_not_pickled,
    answer_not_in_prompt,
)
