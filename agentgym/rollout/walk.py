"""One episode in progress, token by exact token: *sample*, *apply*, *fork*.

The only place where an environment's text meets token ids. What was sampled is appended as sampled and what
the environment says is appended as rendered; nothing is ever decoded and encoded again. An observation that the
environment takes back is cut out, and the ids around it stay as they are; where it begins anew, none stay.
Where episodes are thought in chunks, the environment is given what was said in all of them, once that has come to
its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentgym.chunks import Chunks
from agentgym.engine import Engine, Sample, Sampling
from agentgym.env import Env, begins_anew, forgets, truncated_by
from agentgym.errors import ConfigError, EngineError, EnvError
from agentgym.renderer import Renderer
from agentgym.types import Group, Observation, Outcome, Source, Tokens, Turn


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an episode may go. max_tokens counts what the policy samples in a whole trajectory."""

    max_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


class Walk:
    """A live episode. Its turns join `group` on `commit`, so that a failed episode leaves nothing behind.

    seed: the episode's randomness, in the environment and in sampling. name: unique in the run. origin: the walk
    it was forked from, None at a root; `turns` has what came after the fork. chunks: how it is cut, None for not
    at all; each is a turn. partners: who speaks in the policy's place, by agent.
    """

    def __init__(
        self,
        group: Group,
        env: Env,
        engine: Engine,
        renderer: Renderer,
        limits: Limits,
        seed: int,
        name: str,
        chunks: Chunks | None = None,
        partners: Mapping[str, Engine] | None = None,
    ) -> None:
        self.group, self.env, self.engine, self.chunks = group, env, engine, chunks
        self.renderer, self.limits, self.seed, self.name = renderer, limits, seed, name
        self.partners = partners or {}
        self.outcome: Outcome | None = None
        self.ids: list[int] = []
        self.turns: list[Turn] = []
        self.origin: Walk | None = None
        self._forked_at = self._depth_at_fork = 0  # turns before the fork: of `origin`, and from the prompt
        self._last_fork = 0  # turns when last forked from
        self._heirs = 0  # forks that will want our cache for their first sample
        self._closed = self._on_its_own = False
        self._committed: list[int] = []  # indices in `group.turns`
        self._pending: tuple[int, ...] = ()  # context that the next turn adds
        self._recalled: tuple[int, ...] | None = None  # what comes before it, where that is not all there was
        self._shown: Observation = ""
        self._prompt = 0  # tokens of it
        self._chunk = 1  # number of the present one
        self._said: tuple[int, ...] = ()  # in earlier chunks, of what the environment is yet to hear
        self._sampled = 0
        self._calls = 0

    async def start(self) -> None:
        """Reset the environment, render the prompt. Raises ConfigError for a chunk too long for the engine."""
        observation, _ = await self.env.reset(seed=self.seed, options={"task": self.group.task})
        self._shown = observation
        self._open()

    @property
    def observation(self) -> Observation:
        """What the environment showed last."""
        return self._shown

    @property
    def started(self) -> bool:
        """True once there is a prompt."""
        return bool(self.ids)

    @property
    def at_start(self) -> bool:
        """True until somebody has spoken."""
        return self.depth == 0

    @property
    def depth(self) -> int:
        """Turns from the prompt to here."""
        return self._depth_at_fork + len(self.turns)

    @property
    def budget(self) -> int:
        """Tokens the policy may still sample, in this chunk."""
        left = min(self.limits.max_tokens - self._sampled, self.engine.max_len - len(self.ids))
        return left if self.window is None else min(left, self.window - len(self.ids))

    @property
    def window(self) -> int | None:
        """Tokens that the context may have, what is sampled included; None where no chunks bound it."""
        return None if self.chunks is None else self._prompt + self.chunks.size

    async def sample(self, said: tuple[int, ...] = ()) -> Sample:
        """Let the policy speak once, or go on from what was `said` for it; the sample begins after that."""
        limits = self.limits
        sampling = Sampling(
            # a prompt without room for a token is the engine's to refuse
            max_tokens=max(self.budget - len(said), 1),
            temperature=limits.temperature,
            top_p=limits.top_p,
            top_k=limits.top_k,
            stop=self.env.stop,
            seed=hash((self.seed, self._calls)),
            window=self.window,
            begun=len(self._said) + len(said),
        )
        self._calls += 1
        parent = None if self.origin is None or self._on_its_own else self.origin.name
        speaker = self.partners.get(self.env.agent, self.engine)
        sample = await speaker.sample([*self.ids, *said], sampling, session=self.name, parent=parent)
        self._leave_origin()
        return sample

    async def apply(self, sample: Sample, source: Source = "on_policy") -> None:
        """Give the environment what was said, and take in what it answers."""
        if sample.finish == "length" and not sample.tokens.ids:
            return self._run_out()
        turn = self._turn(sample.tokens)
        turn.text, turn.source = sample.text, source
        self.ids += sample.tokens.ids
        self._sampled += len(sample.tokens)
        self._pending, self._recalled = (), None
        if sample.finish == "length" and self._carry_over():
            self._said += sample.tokens.ids
            self.turns.append(turn)
            return
        result = await self.env.step(self._whole(sample))
        self._said = ()
        turn.reward, turn.info = float(result.reward), dict(result.info)
        if forgets(result.info):
            self._forget(turn)
        self._shown = result.observation
        self.turns.append(turn)
        if result.terminated:
            self.outcome = Outcome.DONE
        elif result.truncated:
            self.outcome = truncated_by(result.info)
        elif begins_anew(result.info):
            self._open()
            self._recalled = ()
        else:
            self._pending = self.renderer.extend(result.observation, ended=sample.finish == "eos")
            self.ids += self._pending
            self._carry_over()
        if self.outcome is None and (sample.finish == "length" or self.budget < 1):
            self.outcome = Outcome.MAX_TOKENS
            turn.reward += self.env.unfinished_reward()
        turn.outcome = self.outcome

    def _run_out(self) -> None:
        """End where there was no room to speak. Raises EngineError where that is so from the start."""
        if self.at_start:
            raise EngineError("the prompt alone is longer than what the model takes")
        last = self._last_turn()
        last.reward += self.env.unfinished_reward()
        self.outcome = last.outcome = Outcome.MAX_TOKENS

    def _last_turn(self) -> Turn:
        """The last one, or one without an action: where there is none, and where it is another walk's as well."""
        if len(self.turns) == self._last_fork:
            self.turns.append(self._turn(Tokens(())))
        return self.turns[-1]

    def _open(self) -> None:
        """What was shown last is the prompt, and all that the policy sees."""
        shown = self._shown
        self._pending = self.renderer.open(
            [{"role": "user", "content": shown}] if isinstance(shown, str) else shown
        )
        self.ids = list(self._pending)
        self._prompt, self._chunk = len(self.ids), 1
        if self.window is not None and self.window > self.engine.max_len:
            raise ConfigError(
                f"prompt and chunk have {self.window} tokens together, and the engine's max_len is "
                f"{self.engine.max_len}: a chunk would never be full"
            )

    def _carry_over(self) -> bool:
        """Begin a chunk where one is full, and more of them and of the tokens are left. Whether it has begun."""
        if self.chunks is None or self.window is None or len(self.ids) < self.window:
            return False
        if self._chunk == self.chunks.count or self._sampled >= self.limits.max_tokens:
            return False
        self.ids = list(self.chunks.carry_over(self.ids, self._prompt))
        self._pending, self._recalled = (), tuple(self.ids)
        self._chunk += 1
        return True

    def _whole(self, sample: Sample) -> str:
        """What was said in all chunks up to this sample."""
        if not self._said:
            return sample.text
        ended = sample.finish == "eos"
        return self.renderer.decode(self._said + sample.tokens.ids[: len(sample.tokens) - ended])

    def _turn(self, action: Tokens) -> Turn:
        """What the policy says, or would have said, where it is now."""
        shown = self.renderer.decode(self._pending)
        return Turn(
            None, Tokens(self._pending), action, observation=shown, agent=self.env.agent, recalled=self._recalled
        )

    def _forget(self, turn: Turn) -> None:
        """Cut out what was shown before `turn`, whose action the ids end with. Between chat messages a seam stays:
        both of the policy's are the assistant's."""
        if self.at_start or turn.recalled == ():
            raise EnvError(
                f"{type(self.env).__name__} says info['forget'] after the first action of a context, but what was "
                "shown before that is the prompt, which cannot be taken back"
            )
        if self.chunks is not None:
            raise ConfigError(
                f"{type(self.env).__name__} takes back what it showed, which may have been carried over in part: "
                "its episodes cannot be thought in chunks"
            )
        if not turn.context.ids:
            return
        seam = self.renderer.extend([]) if isinstance(self._shown, list) else ()
        said = len(self.ids) - len(turn.action)
        self.ids[said - len(turn.context) : said] = seam
        self._recalled = tuple(self.ids)

    async def fork(self, seed: int, name: str) -> Walk:
        """A second walk from here, in a world of its own; raises what the environment's fork raises."""
        env = await self.env.fork(seed)
        twin = Walk(
            self.group, env, self.engine, self.renderer, self.limits, seed, name, self.chunks, self.partners
        )
        twin.ids, twin.outcome = list(self.ids), self.outcome
        twin.origin, twin._forked_at, twin._depth_at_fork = self, len(self.turns), self.depth
        self._last_fork = len(self.turns)
        self._heirs += 1
        twin._pending, twin._recalled, twin._shown = self._pending, self._recalled, self._shown
        twin._prompt, twin._chunk, twin._said = self._prompt, self._chunk, self._said
        twin._sampled, twin._calls = self._sampled, self._calls
        return twin

    def commit(self) -> None:
        """Add this walk's turns to the group, and before them those that it was forked after."""
        self._commit(len(self.turns))

    def _commit(self, count: int) -> None:
        """Have the first `count` turns in the group."""
        for turn in self.turns[len(self._committed) : count]:
            turn.parent = self._index_before(len(self._committed))
            self._committed.append(len(self.group.turns))
            self.group.turns.append(turn)

    def _index_before(self, count: int) -> int | None:
        """Index in the group of the turn that comes before our turn number `count`."""
        if count:
            return self._committed[count - 1]
        if self.origin is None:
            return None
        self.origin._commit(self._forked_at)
        return self.origin._index_before(self._forked_at)

    def fail(self, outcome: Outcome, reason: str) -> None:
        """Record that the machinery failed: the episode counts, and nobody learns from it."""
        last = self._last_turn()
        self.outcome = last.outcome = outcome
        last.info["error"] = reason

    def cancel(self) -> None:
        """Record that the episode was given up: its turns stay, and nobody learns from the last."""
        self.outcome = Outcome.CANCELLED
        if self.turns:
            self.turns[-1].outcome = self.outcome

    async def close(self) -> None:
        """Free the environment and the engine's cache, this one when no fork needs it any more."""
        self._leave_origin()
        self._closed = True
        self._release()
        await self.env.close()

    def _leave_origin(self) -> None:
        if self.origin is not None and not self._on_its_own:
            self._on_its_own = True
            self.origin._heirs -= 1
            self.origin._release()

    def _release(self) -> None:
        if self._closed and not self._heirs:
            for engine in (self.engine, *self.partners.values()):
                engine.release(self.name)
