"""Drives a server with Anthropic's own package.

Usage: anthropic_client.py URL KEY
"""

import sys

import anthropic

url, key = sys.argv[1:]
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
hello = [{"role": "user", "content": "Hello"}]
think = {"type": "enabled", "budget_tokens": 8}
look = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {
        "type": "object",
        "properties": {"deep": {"type": "boolean"}},
        "required": ["deep"],
        "additionalProperties": False,
    },
}


def asked(**kwargs):
    kwargs.setdefault("max_tokens", 30)
    kwargs.setdefault("messages", hello)
    kwargs.setdefault("extra_body", {"ignore_eos": True, "seed": 3})
    return dict(model="tiny", **kwargs)


def ask(**kwargs):
    return client.messages.create(**asked(**kwargs))


def whole_and_streamed():
    off = {"type": "disabled"}
    whole = ask(thinking=off, system="Be brief.")
    assert whole.role == "assistant" and whole.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == 30 and whole.usage.input_tokens > 0
    with client.messages.stream(**asked(thinking=off, system="Be brief.")) as stream:
        text = "".join(stream.text_stream)
        told = stream.get_final_message()
    assert text == "".join(block.text for block in whole.content) == told.content[0].text
    assert told.stop_reason == "max_tokens" and told.usage.output_tokens == 30


def thinking_and_its_signature():
    body = dict(thinking=think, max_tokens=150)
    whole = ask(**body)
    thought, said = whole.content
    assert thought.type == "thinking" and thought.thinking and thought.signature
    kinds = []
    with client.messages.stream(**asked(**body)) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                if not kinds or kinds[-1] != event.delta.type:
                    kinds.append(event.delta.type)
        told = stream.get_final_message()
    assert kinds == ["thinking_delta", "signature_delta", "text_delta"], kinds
    assert told.content[0].signature == thought.signature
    assert told.content[0].thinking == thought.thinking
    turns = [*hello, {"role": "assistant", "content": told.content},
             {"role": "user", "content": "And then?"}]
    ask(messages=turns, **body)
    forged = {"type": "thinking", "thinking": "x", "signature": thought.signature}
    turns[1] = {"role": "assistant", "content": [forged, {"type": "text", "text": said.text}]}
    error = raised(anthropic.BadRequestError, lambda: ask(messages=turns, **body))
    assert "signature" in error.body["error"]["message"]


def tools():
    one = {"type": "tool", "name": "look", "disable_parallel_tool_use": True}
    body = dict(tools=[look], thinking=think, max_tokens=300)
    whole = ask(tool_choice=one, **body)
    assert whole.stop_reason == "tool_use", whole
    call = whole.content[-1]
    assert call.type == "tool_use" and isinstance(call.input["deep"], bool)
    with client.messages.stream(**asked(tool_choice=one, **body)) as stream:
        told = stream.get_final_message()
    assert told.content[-1].input == call.input and told.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "the bottom"}
    turns = [*hello, {"role": "assistant", "content": whole.content},
             {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]}]
    ask(messages=turns, tool_choice={"type": "auto"}, **body)


def counts():
    counted = client.messages.count_tokens(model="tiny", messages=hello, tools=[look])
    usage = ask(tools=[look], max_tokens=1).usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def raised(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def faults():
    error = raised(anthropic.BadRequestError, lambda: ask(extra_body={"temperature": -1}))
    assert error.body["type"] == "error" and error.request_id == error.body["request_id"]
    other = lambda: client.messages.create(model="other", max_tokens=1, messages=hello)
    raised(anthropic.NotFoundError, other)
    stranger = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
    raised(anthropic.AuthenticationError,
           lambda: stranger.messages.create(**asked()))
    bearer = anthropic.Anthropic(base_url=url, auth_token=key, api_key=None, max_retries=0)
    bearer.messages.create(**asked(max_tokens=2))


def betas():
    answer = client.beta.messages.create(
        **asked(thinking={"type": "adaptive"}, betas=["context-management-2025-06-27"],
                max_tokens=60)
    )
    assert answer.type == "message"


for case in (whole_and_streamed, thinking_and_its_signature, tools, counts, faults, betas):
    case()
    print(case.__name__)
