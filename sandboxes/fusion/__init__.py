"""Sessions by replay on a server that speaks SandboxFusion's API."""
