"""What a request carries along: tokens of its context, documents, KV of its earlier calls."""

from __future__ import annotations

import pytest

from tests.sim.pipelines.build import CPU, LLM, built, call, call_ms, e2e_ms, run, visits, work

VECTORS = {"serves": ["retrieve"], "device": "grace", "index": "ivfpq-1b"}
ENCODER = {
    "serves": ["embed", "rerank", "encode"],
    "device": "l40s",
    "models": ["multilingual-e5-base", "bge-reranker-base"],
}
RAG = {"llm": LLM, "vectors": VECTORS, "enc": ENCODER}
RETRIEVE = {"retrieve": {"top_k": 20, "tokens_per_document": 50}}
RERANK = {"rerank": {"model": "bge-reranker-base"}}
TOOL = {"tool": {"latency_ms": 5, "result_tokens": 40}}


def prompts(stages, clients=None, requests=((0, 100, 10),)):
    """Return the prompt of the last call of each request."""
    result = run(built(stages, clients), requests)
    assert not any(result.requests.reason)
    return result.requests.prompt_tokens.tolist()


class TestTokens:
    """How long the prompt of a call is."""

    def test_documents_are_read_by_the_next_call(self):
        assert prompts([RETRIEVE, call()], {"llm": LLM, "vectors": VECTORS}) == [100 + 20 * 50]

    def test_and_by_that_call_only(self):
        stages = [RETRIEVE, call(output_tokens=7), call()]
        assert prompts(stages, {"llm": LLM, "vectors": VECTORS}) == [100 + 1000 + 7]

    def test_a_call_with_a_prompt_of_its_own_leaves_them(self):
        stages = [RETRIEVE, call(prompt_tokens=30, output_tokens=9), call()]
        assert prompts(stages, {"llm": LLM, "vectors": VECTORS}) == [1100]

    @pytest.mark.parametrize(("keep", "kept"), [(None, 20), (5, 5), (40, 20)])
    def test_reranking_keeps_the_best(self, keep, kept):
        rerank = {"rerank": {"model": "bge-reranker-base", **({"keep": keep} if keep else {})}}
        stages = [RETRIEVE, rerank, call()]
        assert prompts(stages, RAG | {"enc": {**ENCODER, "serves": ["rerank"]}}) == [
            100 + 50 * kept
        ]

    def test_searches_of_a_fork_bring_their_documents_together(self):
        fork = {"parallel": {"branches": 2, "stages": [RETRIEVE]}}
        assert prompts([fork, call()], {"llm": LLM, "vectors": VECTORS}) == [100 + 2 * 1000]

    def test_a_fork_reads_documents_first_so_that_branches_do_not_repeat_them(self):
        fork = {"parallel": {"branches": 2, "stages": [call(output_tokens=3)]}}
        clients = {"llm": LLM, "vectors": VECTORS}
        assert prompts([RETRIEVE, fork, call()], clients) == [100 + 1000 + 6]

    @pytest.mark.parametrize(("context", "tokens"), [(None, 576), (144, 144)])
    def test_images_join_the_context(self, context, tokens):
        fields = {"items": 2, "tokens": 576, "model": "multilingual-e5-base"}
        if context:
            fields["context_tokens"] = context
        enc = {**ENCODER, "serves": ["encode"], "models": ["multilingual-e5-base"]}
        assert prompts([{"encode": fields}, call()], {"llm": LLM, "enc": enc}) == [100 + 2 * tokens]

    def test_results_of_tools_join_the_context(self):
        assert prompts([call(), TOOL, call()]) == [100 + 10 + 40]

    @pytest.mark.parametrize(
        ("fields", "grown"),
        [
            ({}, 10),
            ({"output_tokens": 25}, 25),
            ({"keep_output": False}, 0),
            ({"thought_tokens": 60}, 10),
            ({"thought_tokens": 60, "keep_thoughts": True}, 70),
            ({"thought_tokens": 60, "max_thought_tokens": 40, "keep_thoughts": True}, 50),
            ({"thought_tokens": 60, "max_thought_tokens": 80, "keep_thoughts": True}, 70),
            ({"thought_tokens": 60, "keep_output": False, "keep_thoughts": True}, 0),
            ({"prompt_tokens": 30}, 0),
            ({"prompt_tokens": 30, "keep_output": True}, 10),
            ({"prompt_tokens": 30, "keep_output": True, "thought_tokens": 8}, 10),
        ],
    )
    def test_what_a_call_leaves_in_the_context(self, fields, grown):
        assert prompts([call(**fields), call()]) == [100 + grown]

    def test_thoughts_take_time_like_any_tokens(self):
        result = run(built([call(thought_tokens=60, max_thought_tokens=40)]))
        assert e2e_ms(result) == pytest.approx(call_ms(100, 50))
        assert result.requests.output_tokens.tolist() == [50]
        assert result.requests.generated_tokens.tolist() == [50]

    def test_a_router_decides_on_the_context_and_leaves_nothing_in_it(self):
        choice = {"choice": {"router": {"output_tokens": 5}, "branches": {"a": {"stages": []}}}}
        result = run(built([choice, call()]))
        assert result.requests.prompt_tokens.tolist() == [100]
        assert result.requests.generated_tokens.tolist() == [15]
        assert e2e_ms(result) == pytest.approx(call_ms(100, 5) + call_ms(4, 10))  # 96 reused

    def test_all_calls_count_as_tokens_and_the_last_as_the_answer(self):
        stages = [call(output_tokens=30), work(3), call(output_tokens=4)]
        result = run(built(stages, {"llm": LLM, "cpu": CPU}))
        requests = result.requests
        assert requests.generated_tokens.tolist() == [34]
        assert requests.output_tokens.tolist() == [4]
        assert result.summary["output_tokens"] == 34
        second = visits(result)[2]
        assert requests.first_token[0] == requests.finished[0] - 3 * 1010 * 10**6
        assert second.begin + second.time == pytest.approx(e2e_ms(result))

    def test_tokens_of_branches_that_nobody_waited_for_were_sampled_too(self):
        each = {"long": [call(output_tokens=90)], "short": [call(output_tokens=5)]}
        result = run(built([{"parallel": {"each": each, "wait_for": 1}}]))
        assert result.requests.generated_tokens.tolist() == [95]
        assert result.requests.output_tokens.tolist() == [5]


class TestKV:
    """How much of a prompt the replica has from an earlier call of the same request."""

    def reused(self, stages, requests=((0, 100, 28),), **client):
        return run(built(stages, {"llm": {**LLM, **client}}), requests).requests.reused_tokens

    @pytest.mark.parametrize(
        ("output", "reused"),
        # Blocks of 16 tokens, all full ones but that of the last token, which was never computed
        [(28, 112), (29, 128), (12, 96), (13, 112), (1, 96)],
    )
    def test_the_next_turn_has_that_of_prompt_and_answer(self, output, reused):
        assert self.reused([call(), TOOL, call()], [(0, 100, output)]).tolist() == [reused]

    def test_so_it_computes_the_rest_only(self):
        result = run(built([call(), TOOL, call()]), [(0, 100, 28)])
        assert visits(result)[2].time == pytest.approx(call_ms(128 + 40 - 112, 28))

    def test_in_every_round_of_a_loop(self):
        """From 100 tokens, 28 + 40 more each round."""
        stages = [{"loop": {"times": 4, "stages": [call(), TOOL]}}]
        before = [100, 168, 236]
        assert self.reused(stages).tolist() == [sum((n + 28 - 1) // 16 * 16 for n in before)]

    def test_also_where_the_loop_is_inside_a_choice(self):
        loop = {"loop": {"times": 2, "stages": [call(), TOOL]}}
        stages = [{"choice": {"branches": {"agent": {"stages": [loop]}}}}]
        assert self.reused(stages).tolist() == [112]

    def test_only_where_it_lies(self):
        clients = {"llm": {**LLM, "replicas": 2}}
        stages = [{"loop": {"times": 3, "stages": [call(), TOOL]}}]
        turns = run(built(stages, clients, routing={"llm": "round_robin"}), [(0, 100, 28)])
        # The second round finds nothing on its replica, the third what the first left there.
        assert turns.requests.reused_tokens.tolist() == [112]
        stages = [call(client="one"), TOOL, call(client="two")]
        models = {"one": LLM, "two": {**LLM, "model": "llama-3.1-70b", "tensor_parallel_size": 4}}
        other = run(built(stages, models), [(0, 100, 28)])
        assert other.requests.reused_tokens.tolist() == [0]

    @pytest.mark.parametrize(
        ("fields", "reused"),
        [
            ({"thought_tokens": 40}, 96),  # the answer followed thoughts that are gone
            ({"thought_tokens": 40, "keep_thoughts": True}, (100 + 68 - 1) // 16 * 16),
            ({"keep_output": False}, 96),
            ({"prompt_tokens": 64}, 0),
        ],
    )
    def test_of_what_stays_in_the_context(self, fields, reused):
        assert self.reused([call(**fields), TOOL, call()]).tolist() == [reused]

    def test_none_without_prefix_caching(self):
        assert self.reused([call(), TOOL, call()], enable_prefix_caching=False).tolist() == [0]

    def test_branches_have_what_came_before_the_fork(self):
        fork = {"parallel": {"branches": 3, "stages": [call(output_tokens=8)]}}
        assert self.reused([call(), fork]).tolist() == [3 * 112]

    def test_but_not_one_anothers_answers(self):
        """After the fork a call has the KV of the branch whose answer comes first in the prompt."""
        fork = {"parallel": {"branches": 2, "stages": [call(output_tokens=20)]}}
        first = (2 * 127) // 16 // 2 * 16  # 112 each, from the call before
        last = (128 + 20 - 1) // 16 * 16  # 144: what came before the fork and the first answer
        assert self.reused([call(), fork, call()]).tolist() == [2 * first + last]

    def test_requests_do_not_share_what_they_have_not_said_to_share(self):
        stages = [call(), call()]
        assert self.reused(stages, [(0, 100, 28), (500, 100, 28)]).tolist() == [112, 112]
