"""What an MCP server answers, as text."""

from __future__ import annotations

import json

import mcp_types as types


def as_text(result: types.CallToolResult) -> str:
    """Texts as they are, and of all else what it is; where there is only a structured answer, its JSON."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return "\n".join(part for part in parts if part) or "(no output)"


def _part(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent():
            return f"[image: {block.mime_type}, {_size(block.data)}]"
        case types.AudioContent():
            return f"[audio: {block.mime_type}, {_size(block.data)}]"
        case types.ResourceLink():
            return f"[resource {block.uri}: {block.description or block.name}]"
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            return f"[resource {resource.uri}: {resource.mime_type or 'data'}, {_size(resource.blob)}]"
    return f"[{block.type}]"


def _size(base64: str) -> str:
    return f"{len(base64.rstrip('=')) * 3 // 4} bytes"
