"""Any environment for OpenEnv's clients (`agentgym serve env=NAME`), in the protocol of openenv-core 0.3.

    GET  /health      no token needed
    GET  /schema      JSON schemas of actions, observations and states
    GET  /metadata    name and description
    WS   /ws          the episodes: a connection has one environment, and plays one episode at a time in it

A client sends {"type": "reset", "data": {"seed": 7}}, {"type": "step", "data": {"message": "said by the policy"}},
{"type": "state"} or {"type": "close"}; each but the last is answered by one frame, in order. `wire.py` has the
frames. An action has the one field that OpenEnv's own text environments (echo, textarena) have, `message`; an
observation has textarena's `prompt` and `messages`. OpenEnv knows one way for an episode to end, `done`;
`observation.metadata.truncated` says whether a limit did it. There is no POST /reset and /step: in OpenEnv, these
know nothing of each other, and so can play no episode. A task's id is not shown, for it may hold the answer.

A client that can be given no more than a URL shows the token as the password in it: http://any:TOKEN@host:port.
"""
