"""Drives a server's responses with OpenAI's own package.

Usage: responses_client.py URL KEY
"""

import json
import sys

import openai

url, key = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
schema = {
    "type": "object",
    "properties": {"deep": {"type": "boolean"}},
    "required": ["deep"],
    "additionalProperties": False,
}
look = {"type": "function", "name": "look", "parameters": schema, "strict": True}
none = {"effort": "none"}
some = {"effort": "minimal", "summary": "auto"}


def ask(**kwargs):
    kwargs.setdefault("input", "Hello")
    kwargs.setdefault("max_output_tokens", 30)
    body = {"ignore_eos": True, "seed": 3}
    return client.responses.create(model="tiny", store=False, extra_body=body, **kwargs)


def whole_and_streamed():
    whole = ask(reasoning=none, instructions="Be brief.")
    assert whole.status == "incomplete" and whole.usage.output_tokens == 30
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.usage.input_tokens_details.cached_tokens == 0
    text, last = "", None
    for event in ask(reasoning=none, instructions="Be brief.", stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        last = event
    assert last.type == "response.incomplete"
    assert text == whole.output_text == last.response.output_text


def thinking():
    body = dict(reasoning=some, max_output_tokens=700)
    whole = ask(**body)
    reasoning = whole.output[0]
    assert reasoning.type == "reasoning" and reasoning.summary[0].text
    assert whole.usage.output_tokens_details.reasoning_tokens > 0
    kinds = {event.type for event in ask(stream=True, **body)}
    assert {"response.reasoning_text.delta", "response.reasoning_summary_text.delta"} <= kinds


def tools():
    body = dict(tools=[look], reasoning=some, max_output_tokens=900, parallel_tool_calls=False)
    one = {"type": "function", "name": "look"}
    with client.responses.stream(
        model="tiny", input="Hello", tool_choice=one,
        extra_body={"ignore_eos": True, "seed": 3}, **body
    ) as stream:
        for _ in stream:
            pass
        told = stream.get_final_response()
    call = told.output[-1]
    assert told.status == "completed" and call.type == "function_call"
    assert isinstance(json.loads(call.arguments)["deep"], bool)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "the bottom"}
    items = [item.model_dump(exclude_none=True) for item in told.output]
    turns = [{"role": "user", "content": "Hello"}, *items, result]
    after = ask(input=turns, tool_choice="none", tools=[look], reasoning=none)
    assert after.output[0].type == "message"


def structured():
    form = {"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": True}}
    whole = ask(reasoning=none, text=form, max_output_tokens=200)
    assert isinstance(json.loads(whole.output_text)["deep"], bool)


def faults():
    try:
        ask(previous_response_id="resp_1")
    except openai.BadRequestError as error:
        assert error.param == "previous_response_id"
    else:
        raise AssertionError("responses are not kept")


for case in (whole_and_streamed, thinking, tools, structured, faults):
    case()
    print(case.__name__)
