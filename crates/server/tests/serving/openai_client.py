"""Drives a server with OpenAI's own package.

Usage: openai_client.py URL KEY
"""

import asyncio
import sys

import openai

url, key = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
talk = [{"role": "user", "content": "Hello"}]
long = {"ignore_eos": True}


def chat(**kwargs):
    kwargs.setdefault("max_tokens", 24)
    kwargs.setdefault("extra_body", long)
    return client.chat.completions.create(model="tiny", messages=talk, **kwargs)


def models():
    assert [model.id for model in client.models.list()] == ["tiny", "org/tiny"]
    assert client.models.retrieve("org/tiny").id == "org/tiny"


def whole_and_streamed():
    whole = chat(seed=3, temperature=1, reasoning_effort="none")
    choice = whole.choices[0]
    assert choice.finish_reason == "length" and choice.message.role == "assistant"
    assert whole.usage.completion_tokens == 24
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24
    assert whole.usage.prompt_tokens_details.cached_tokens == 0
    parts, usage, finish = [], None, None
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in chat(seed=3, temperature=1, reasoning_effort="none", **options):
        usage = chunk.usage or usage
        for choice_now in chunk.choices:
            parts.append(choice_now.delta.content or "")
            finish = choice_now.finish_reason or finish
    assert "".join(parts) == choice.message.content
    assert finish == "length" and usage.completion_tokens == 24


def thinking():
    body = {**long, "thinking_token_budget": 8}
    answer = chat(max_tokens=150, extra_body=body, seed=5, temperature=1)
    message = answer.choices[0].message
    assert message.model_extra["reasoning_content"]
    assert message.model_extra["reasoning"] == message.model_extra["reasoning_content"]
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    plain = chat(reasoning_effort="none")
    assert plain.usage.completion_tokens_details.reasoning_tokens == 0


def several_with_logprobs():
    # Random weights may open thinking unasked: with this seed they do not.
    answer = chat(
        n=3, logprobs=True, top_logprobs=2, temperature=1, reasoning_effort="none", seed=5
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert len(choice.logprobs.content) == 24
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)


def stops_and_limits():
    ended = chat(stop=["\n", " "], max_completion_tokens=50, temperature=1, reasoning_effort="none")
    assert ended.choices[0].finish_reason in ("stop", "length")
    assert " " not in ended.choices[0].message.content


def completions():
    prompt = [5, 6, 7, 80, 81]
    answer = client.completions.create(
        model="tiny", prompt=prompt, max_tokens=0, echo=True, logprobs=1
    )
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.text_offset) == 5
    assert logprobs.token_logprobs[0] is None and logprobs.token_logprobs[1] < 0
    both = client.completions.create(model="tiny", prompt=["a", "b"], max_tokens=4)
    assert [choice.index for choice in both.choices] == [0, 1]
    parts = client.completions.create(model="tiny", prompt="a", max_tokens=9, stream=True)
    assert any(chunk.choices and chunk.choices[0].text for chunk in parts)


def faults():
    def raised(kind, call):
        try:
            call()
        except kind as error:
            return error
        raise AssertionError(f"no {kind.__name__}")

    error = raised(openai.BadRequestError, lambda: chat(temperature=-1))
    assert error.param == "temperature" and error.type == "invalid_request_error"
    assert error.request_id
    unknown = lambda: client.chat.completions.create(model="gpt-9", messages=talk)
    assert raised(openai.NotFoundError, unknown).code == "model_not_found"
    stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
    raised(openai.AuthenticationError, lambda: stranger.models.list())


async def crowd():
    many = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key)
    one = lambda: many.chat.completions.create(
        model="tiny", messages=talk, max_tokens=30, seed=1, temperature=1, extra_body=long
    )
    answers = await asyncio.gather(*(one() for _ in range(40)))
    assert len({answer.choices[0].message.content for answer in answers}) == 1


for case in (
    models, whole_and_streamed, thinking, several_with_logprobs, stops_and_limits, completions,
    faults,
):
    case()
    print(case.__name__)
asyncio.run(crowd())
print("crowd")
