"""A server that gives other machines sessions of any sandbox (`agentgym serve`).

    GET    /health                          no token needed
    GET    /metrics                         for Prometheus
    GET    /v1                              the server's limits
    GET    /v1/protections                  the sandbox's
    POST   /v1/sessions                     open one; its id is the request's
    POST   /v1/renew                        leases of the sessions named
    POST   /v1/sessions/ID/run              a program
    POST   /v1/sessions/ID/fork             a second session; its id is the request's
    DELETE /v1/sessions/ID/calls/CALL       end a call
    PUT    /v1/sessions/ID/file?path=PATH   the body is the file
    GET    /v1/sessions/ID/file?path=PATH
    DELETE /v1/sessions/ID

`agentgym.sandboxes.remote.wire` has the bodies and the errors, `agentgym.serving.problem` what is refused. It
speaks plain HTTP: between machines, put it behind something that speaks TLS.
"""
