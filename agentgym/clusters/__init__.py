"""Where the parts of a run are: in one process, or as actors on several machines.

single.py          the component for one process
ray.py             the component: sizes of the actors, and where a cluster is
connection.py      ray itself, joined or started
follow.py          the command line's side: the learner's actor, made anew when it is lost
learner.py         the learner's actor: the trainer, as in one process
deployment.py      the trainer's side: engine replicas and env workers, its engine and its managers
fleet.py           the actors of a role, each made anew when it is lost
replica.py         an engine with its own copy of the weights
routed_engine.py   the engine that asks replicas
weights.py         what goes from the learner to the replicas
env_worker.py      plays groups
crew.py            the env workers that are up, and what each has to do
remote_manager.py  the rollout manager whose groups env workers play
folder.py          the run's directory, the same on all machines
calls.py           a call of an actor that may be lost meanwhile
"""
