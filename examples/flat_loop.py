"""The whole algorithm in one file: a small policy learns to use a Python interpreter.

    python examples/flat_loop.py [--imitate 200] [--steps 20] [--prompts 16] [--group-size 8]

Read it from top to bottom. It is ReTool (arXiv 2504.11536): imitate a few hundred scripted traces, then learn from
reward with GRPO's group-relative advantages (arXiv 2402.03300), PPO's clipped ratio (arXiv 1707.06347) and a mean
over tokens (DAPO, arXiv 2503.14476). The environment and its sandbox are the real ones; everything that learns is
here, in plain transformers and torch. On the same episodes `agentgym train` computes the same losses and the same
parameters; it is only faster, and it keeps a record.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from agentgym.env import Demonstration, Env
from agentgym.envs.retool import Retool
from agentgym.models import nano
from agentgym.services import Services
from agentgym.types import Group, Observation, Outcome, Tokens, Turn

MAX_TOKENS = 96  # that the policy may say in one episode
IMITATION_LR, RL_LR = 6e-3, 5e-4
BETAS = (0.9, 0.95)  # a short memory of squared gradients: as the policy changes, so does the data
MAX_GRAD_NORM = 1.0
CLIP_LOW, CLIP_HIGH = 0.2, 0.28  # more room upwards, so that rare good tokens can become likely (DAPO)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logprobs now, logprobs when sampled, advantages) [N] -> a loss for each token [N]."""


# 1. From text to token ids. What the policy sampled is never decoded and encoded again: the ids would differ.


def render(tokenizer: Any, observation: Observation) -> list[int]:
    """What the environment says, as ids: messages through the chat template, text as it is."""
    ids: list[int]
    if isinstance(observation, str):
        # Special tokens in a program's output must stay text, or it could end the policy's turn.
        ids = tokenizer.encode(observation, add_special_tokens=False, split_special_tokens=True)
    else:
        ids = tokenizer.apply_chat_template(observation, add_generation_prompt=True, return_dict=False)
    return ids


# 2. Two who can speak: the policy, and the environment's scripted demonstrator.


class Policy:
    """The model in one episode; it keeps the keys and values of all it has seen and said."""

    def __init__(self, env: Env, tokenizer: Any, model: Any) -> None:
        self.stop, self.tokenizer, self.model = env.stop, tokenizer, model
        self.cache = DynamicCache()
        self.unread: list[int] = []  # ids that are not in the cache yet
        self.budget = MAX_TOKENS

    @torch.no_grad()
    def speak(self, context: list[int], observation: Observation) -> tuple[Tokens, str]:
        """Sample until a stop text, the end of the turn, or the budget."""
        self.unread += context
        ids: list[int] = []
        logprobs: list[float] = []
        text = ""
        while self.budget and not text.endswith(tuple(self.stop)) and ids[-1:] != [self.tokenizer.eos_token_id]:
            out = self.model(torch.tensor([self.unread]), past_key_values=self.cache, use_cache=True)
            distribution = out.logits[0, -1].log_softmax(-1)
            ids.append(int(torch.multinomial(distribution.exp(), 1)))
            logprobs.append(float(distribution[ids[-1]]))
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            self.unread = ids[-1:]
            self.budget -= 1
        return Tokens(tuple(ids), tuple(logprobs)), text


class Demonstrator:
    """The scripted solution, in the words and ids that the policy is to learn."""

    def __init__(self, env: Env, tokenizer: Any, seed: int) -> None:
        self.env, self.tokenizer, self.rng = env, tokenizer, random.Random(seed)
        self.script: Demonstration | None = None
        self.budget = MAX_TOKENS

    def speak(self, context: list[int], observation: Observation) -> tuple[Tokens, str]:
        """What the script says to this observation."""
        if self.script is None:
            self.script = self.env.demonstrate(self.rng)
            text = next(self.script)
        else:
            text = self.script.send(observation)
        ids = render(self.tokenizer, text)
        if not text.endswith(tuple(self.env.stop)):
            ids.append(self.tokenizer.eos_token_id)
        return Tokens(tuple(ids)), text


# 3. One episode: the speaker acts, the environment runs its program, until somebody ends it.


async def play(env: Env, group: Group, speaker: Policy | Demonstrator, tokenizer: Any, seed: int) -> None:
    """Add one episode of the group's task to the group, turn by turn."""
    observation: Observation
    observation, _ = await env.reset(seed=seed, options={"task": group.task})
    parent: int | None = None
    outcome: Outcome | None = None
    while outcome is None:
        context = render(tokenizer, observation)
        action, text = speaker.speak(context, observation)
        result = await env.step(text)
        turn = Turn(parent, Tokens(tuple(context)), action, text=text, reward=result.reward, info=result.info)
        if result.terminated or result.truncated:
            outcome = Outcome.DONE
        elif not speaker.budget:
            outcome = Outcome.MAX_TOKENS
            turn.reward += env.unfinished_reward()
        turn.outcome = outcome
        group.turns.append(turn)
        parent = len(group.turns) - 1
        observation = result.observation


# 4. How much better than its siblings was an episode?


def advantages(rewards: Sequence[float]) -> list[float]:
    """Rewards relative to the mean of the group, in units of its spread; the group is its own baseline."""
    if len(set(rewards)) == 1:
        return [0.0] * len(rewards)  # all right or all wrong: nothing to compare
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    return [(reward - mean) / (spread + 1e-6) for reward in rewards]


# 5. The losses, token by token.


def ppo_clip(now: Tensor, sampled: Tensor, advantage: Tensor) -> Tensor:
    """Raise the probability of what did well and lower the rest, but not far from what was sampled."""
    ratio = (now - sampled).exp()
    clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def imitation(now: Tensor, sampled: Tensor, advantage: Tensor) -> Tensor:
    """Make what was said more likely."""
    return -now


# 6. One optimiser step.


def logprobs_of_actions(model: Any, episodes: Sequence[Sequence[Turn]]) -> Tensor:
    """[N] log-probabilities of every token the speaker said, episode after episode."""
    rows, said = [], []
    for turns in episodes:
        ids: list[int] = []
        mask: list[bool] = []
        for turn in turns:
            ids += turn.context.ids + turn.action.ids
            mask += [False] * len(turn.context) + [True] * len(turn.action)  # learn from the policy's words only
        rows.append(torch.tensor(ids))
        said.append(torch.tensor(mask))
    # Padding on the right needs no attention mask: a causal model never looks there.
    ids_padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    said_padded = torch.nn.utils.rnn.pad_sequence(said, batch_first=True)
    logp = model(ids_padded, use_cache=False).logits[:, :-1].log_softmax(-1)  # position t predicts token t + 1
    found: Tensor = logp.gather(2, ids_padded[:, 1:, None])[..., 0][said_padded[:, 1:]]
    return found


def learn(model: Any, optimizer: torch.optim.Optimizer, groups: Sequence[Group], loss: Loss) -> float:
    """One step on whole groups; returns the loss. Groups that have nothing to teach are left out."""
    episodes: list[list[Turn]] = []
    advantage: list[float] = []
    for group in groups:
        relative = advantages(group.returns())
        if loss is ppo_clip and not any(relative):
            continue
        for turns, value in zip(group.trajectories(), relative, strict=True):
            episodes.append(turns)
            advantage += [value] * sum(len(turn.action) for turn in turns)  # every token of an episode shares it
    if not episodes:
        return 0.0
    sampled = [p for turns in episodes for t in turns for p in t.action.logprobs or [0.0] * len(t.action)]
    now = logprobs_of_actions(model, episodes)
    mean = loss(now, now.new_tensor(sampled), now.new_tensor(advantage)).mean()  # over all tokens of the batch
    optimizer.zero_grad()
    mean.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return float(mean.detach())


def make_optimizer(model: Any, lr: float) -> torch.optim.Optimizer:
    """AdamW with a constant learning rate."""
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=BETAS, weight_decay=0.0)


# 7. All of it: imitate, then play, compare, learn, and again.


async def main(arguments: argparse.Namespace) -> None:
    """Train nano from scratch on `arith`."""
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)
    config = Retool(prompt="plain")  # nano was never taught to follow instructions
    source, model, tokenizer = config.source(), nano.model(arguments.seed), nano.tokenizer()

    async def groups_of(speaker: Callable[[int], Policy | Demonstrator], n: int, size: int) -> list[Group]:
        groups = [Group(str(i), task) for i, task in enumerate(source.draw(n, rng))]
        for group in groups:
            for seed in (rng.getrandbits(31) for _ in range(size)):
                await play(env, group, speaker(seed), tokenizer, seed)
        return groups

    async with Services() as services:
        env = config.make(services)
        try:
            optimizer = make_optimizer(model, IMITATION_LR)
            for step in range(1, arguments.imitate + 1):
                groups = await groups_of(lambda seed: Demonstrator(env, tokenizer, seed), 64, 1)
                print(f"imitation {step}  loss {learn(model, optimizer, groups, imitation):.3f}", flush=True)
            optimizer = make_optimizer(model, RL_LR)
            for step in range(1, arguments.steps + 1):
                prompts, size = arguments.prompts, arguments.group_size
                groups = await groups_of(lambda _: Policy(env, tokenizer, model), prompts, size)
                reward = statistics.fmean(r for group in groups for r in group.returns())
                loss = learn(model, optimizer, groups, ppo_clip)
                print(f"reinforcement {step}  reward {reward:.3f}  loss {loss:+.4f}", flush=True)
        finally:
            await env.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="GRPO on the ReTool environment, in one flat file.")
    parser.add_argument("--imitate", type=int, default=200, help="steps on 64 scripted traces each")
    parser.add_argument("--steps", type=int, default=20, help="steps on the policy's own episodes")
    parser.add_argument("--prompts", type=int, default=16, help="tasks a step")
    parser.add_argument("--group-size", type=int, default=8, help="episodes a task")
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(main(parser.parse_args()))
