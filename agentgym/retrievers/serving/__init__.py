"""A server that gives other processes and machines a retriever (`agentgym serve retriever=...`), over Search-R1's
protocol (arXiv 2503.09516).

    POST /retrieve    {"queries": [...], "topk": 3, "return_scores": true}
    GET  /health      no token needed
    GET  /metrics     for Prometheus

The answer is {"result": [[{"document": {"id", "title", "text", "contents"}, "score"}, ...], ...]}, a list for each
query, best first; without return_scores, the documents alone. `contents` is the title in quotes, a line break and
the text. What is refused is answered with {"error": REASON, "detail": TEXT}.
"""
