"""VindLU's models on small sizes, and both of its networks beside those of ``transformers``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vid_retrieval.metrics.matching import MatchRecall
from vid_retrieval.models.beit import BeitModel3D, relative_positions
from vid_retrieval.models.bert import BertDecoder, XBertModel
from vid_retrieval.models.vindlu import VindLURetrieval, VindLURetrievalMC, VindLUVQA
from vid_retrieval.records import Answers, Texts
from vid_retrieval.transforms.word_pieces import BertTokenize
from vidcore.batch import collate
from vidcore.collectives import Collectives
from vidcore.errors import DataError, UserError
from vidcore.sample import Sample

VOCABULARY = Path(__file__).parents[1] / "vocab.txt"
NAMES = {
    "layers.": "encoder.layer.",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    ".relative_position_bias.": ".attention.attention.relative_position_bias.",
}
"""Names of ``transformers`` 5, and what they were when the weights were published."""
SMALL = {"hidden_size": 16, "num_heads": 2, "mlp_size": 24}
WORDS = ["a dog", "the cat", "what is the cat doing", "running !", "dogs run", "a cafe", "the dog is running", "cats"]


def networks(**text):
    beit = BeitModel3D(num_frames=3, image_size=32, num_layers=2, **SMALL)
    sizes = {"vocab_size": 17, "num_hidden_layers": 3, "fusion_layer": 1, "encoder_width": 16, "max_positions": 12}
    return beit, XBertModel(**sizes, **SMALL, **text)


def made(kind, **options):
    torch.manual_seed(1)
    model = kind(*networks(), **options)
    for name, p in model.named_parameters():  # initial weights are too alike for differences to show
        if p.requires_grad and name != "temp":
            torch.nn.init.normal_(p, std=0.2 if p.ndim > 1 else 0.5)
    return model.eval()


def batch_of(model, texts, videos=None, **extra):
    tokenize, finish = BertTokenize(VOCABULARY, 8, max_answer_length=4), model.sample_step()
    samples = []
    for i, strings in enumerate(texts):
        frames = np.random.default_rng(i if videos is None else videos[i]).integers(0, 256, (2, 3, 32, 32), np.uint8)
        numbered = Texts(tuple(strings), video=i if videos is None else videos[i])
        sample = Sample(
            index=i, inputs={"imgs": frames}, extra={"texts": numbered, **{k: v[i] for k, v in extra.items()}}
        )
        samples.append(finish(tokenize(sample, np.random.default_rng(0)), np.random.default_rng(0)))
    return model.preprocess(collate(samples))


def test_bert_equals_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=17, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    ours = networks()[1].eval()
    ours.fusion_layer = 3
    ours.load_state_dict(theirs.state_dict(), strict=False)
    ids = torch.tensor([[2, 5, 6, 9, 0, 0], [2, 3, 4, 5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(ours.read(ids), theirs(ids, attention_mask=(ids != 0).long()).last_hidden_state)


def test_beit_equals_that_of_transformers_for_each_frame():
    transformers = pytest.importorskip("transformers")
    config = transformers.BeitConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=16,
        use_relative_position_bias=True, use_mean_pooling=True, layer_norm_eps=1e-12,
    )  # fmt: skip
    theirs = transformers.BeitModel(config).eval()
    ours = networks()[0].eval()
    with torch.no_grad():
        own = dict(ours.named_parameters())
        for name, p in theirs.named_parameters():
            torch.nn.init.normal_(p, std=0.3)
            for new, published in NAMES.items():
                name = name.replace(new, published)
            own[name].copy_(p)
        frames = torch.randn(2, 3, 3, 32, 32)
        tokens, pooled = ours(frames)  # the factor of temporal attention is 0
        for t in range(3):
            wanted = theirs(frames[:, t])
            torch.testing.assert_close(tokens[:, t], wanted.last_hidden_state, atol=2e-5, rtol=1e-5)
            torch.testing.assert_close(pooled[:, t], wanted.pooler_output, atol=2e-5, rtol=1e-5)
        ours.encoder.layer[0].temp_model.scale.fill_(1)
        assert (ours(frames)[0] - tokens).abs().max() > 1e-3  # frames look at each other


def test_relative_positions():
    index = relative_positions(3)
    assert index.shape == (10, 10) and index.max() == 27 and index[0, 0] == 27
    assert (index[0, 1:] == 25).all() and (index[1:, 0] == 26).all() and (index.diagonal()[1:] == 12).all()
    assert index[1, 2] == index[5, 6] != index[2, 1]  # one to the right, everywhere


def test_losses_of_pairs_leave_out_samples_of_one_video():
    model = made(VindLURetrieval)
    batch = batch_of(model, [[w] for w in WORDS[:3]], videos=[4, 4, 5])
    outputs = model(batch.inputs)
    assert outputs.matches.shape == (9, 2)
    alike = outputs.frame_features.mean(1) @ outputs.text_features[:, 0].T / 0.07
    wanted = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    by_hand = -(wanted * alike.log_softmax(1)).sum() / 6 - (wanted * alike.T.log_softmax(1)).sum() / 6
    found = model.loss(outputs, batch)
    torch.testing.assert_close(found["itc_loss"], by_hand)
    one = model(batch_of(model, [["a dog"], ["a cat"]], videos=[7, 7]).inputs)
    assert one.matches.shape == (2, 2)  # no wrong pairs
    sum(model.loss(model.train()(batch.inputs), batch).values()).backward()
    lacking = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking
    several = batch_of(model, [WORDS[:2], WORDS[2:3]])
    outputs = model(several.inputs)
    with pytest.raises(DataError, match="training needs samples with one text each, and a batch has up to 2"):
        model.loss(outputs, several)


def test_training_tells_colours_apart():
    torch.manual_seed(0)
    beit = BeitModel3D(num_frames=2, image_size=32, num_layers=2, drop_path_rate=0.0, **SMALL)
    sizes = {"vocab_size": 17, "num_hidden_layers": 3, "fusion_layer": 1, "encoder_width": 16, "dropout": 0.0}
    model = VindLURetrieval(beit, XBertModel(**sizes, **SMALL), proj_dim=16).train()
    frames = np.zeros((3, 2, 3, 32, 32), np.uint8)
    for colour in range(3):
        frames[colour, :, colour, 4:28, 4:28] = 255
    samples = [Sample(inputs={"imgs": f, "text": np.array([[2, 5 + i]])}) for i, f in enumerate(frames)]
    batch = model.preprocess(collate(samples))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(240):
        losses = model.loss(model(batch.inputs), batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert losses["itc_loss"] < 0.1 and losses["itm_loss"] < 0.1, "chance: 1.1 and 0.64"


def test_contrast_reaches_over_processes():
    model = made(VindLURetrieval)
    whole = batch_of(model, [[w] for w in WORDS[:4]])
    wanted = model.loss(model(whole.inputs), whole)["itc_loss"]
    halves = [batch_of(model, [[w] for w in WORDS[i : i + 2]], videos=[i, i + 1]) for i in (0, 2)]
    outputs = [model(half.inputs) for half in halves]

    class Both(Collectives):
        def __init__(self):
            rows = [
                [o.frame_features.mean(1), o.text_features[:, 0], h.inputs["video"]]
                for o, h in zip(outputs, halves, strict=True)
            ]
            self.rest = [torch.cat(pair) for pair in zip(*rows, strict=True)]

        def all_gather(self, rows):
            return self.rest.pop(0)

    torch.testing.assert_close(model.loss(outputs[0], halves[0].replace(collectives=Both()))["itc_loss"], wanted)


def test_matches_rank_the_most_similar_candidates():
    model = made(VindLURetrieval, topk=3)
    texts = [WORDS[:2], WORDS[2:3], WORDS[3:6], WORDS[6:8]]
    batch = batch_of(model, texts)
    with torch.no_grad():
        outputs = model(batch.inputs)
        predicted = model.predict(outputs, batch)
        metric = MatchRecall(["R1", "MnR"])
        metric.update(predicted, batch.samples)
        metric.conclude(model, 0, lambda value: [value])
        found = metric.compute()
        ids = torch.cat([batch.inputs["text"][i, : len(t)] for i, t in enumerate(texts)])
        states = model.text_encoder.read(ids)
        scores = torch.stack(
            [model.match(states, ids, v.expand(len(ids), -1, -1))[:, 1] for v in outputs.video_tokens], 1
        )
        vectors = torch.cat([outputs.text_features[i, : len(t)] for i, t in enumerate(texts)])
        alike = vectors @ outputs.frame_features.mean(1).T
    owners = np.repeat(np.arange(4), [len(t) for t in texts])
    assert found == pytest.approx(by_hand(scores.numpy(), alike.numpy(), owners, 3), abs=1e-3)
    assert metric.notes() == ["8 texts and 4 videos match their 3 most similar candidates"]
    with pytest.raises(UserError, match="needs a VindLURetrieval"):
        metric.conclude(torch.nn.Linear(1, 1), 0, lambda value: [value])
    metric.reset()
    with pytest.raises(DataError, match="at the end of an evaluation"):
        metric.compute()


def by_hand(scores, alike, owners, topk):
    ranks = {"t2v": [], "v2t": []}
    for t, v in enumerate(owners):
        kept = np.argsort(-alike[t])[:topk]
        row = [scores[t, k] if k in kept else -100 for k in range(4)]
        ranks["t2v"].append(sum(s >= row[v] for s in row))
    for v in range(4):
        kept = np.argsort(-alike[:, v])[:topk]
        column = np.array([scores[t, v] if t in kept else -100 for t in range(8)])
        best = column[owners == v].max()
        ranks["v2t"].append(1 + sum(column[owners != v] >= best))
    return {
        f"{k}/{name}": value
        for k, r in ranks.items()
        for name, value in (("R1", 100 * np.mean(np.array(r) == 1)), ("MnR", np.mean(r)))
    }


def test_a_choice_is_among_the_captions_of_its_video():
    model = made(VindLURetrievalMC)
    batch = batch_of(model, [WORDS[:3], WORDS[3:5]])
    with torch.no_grad():
        first, second = model.predict(model(batch.inputs), batch)
        alone = batch_of(model, [WORDS[3:5]], videos=[1])
        (again,) = model.predict(model(alone.inputs), alone)
    assert first.scores.shape == (3,) and second.scores.shape == (2,)
    np.testing.assert_allclose(second.scores, again.scores, atol=1e-5)


def test_questions_are_answered_from_the_list(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(["dog", "cat", "cat dog", "running"]))
    options = {"answer_list": tmp_path / "answers.json", "vocabulary": VOCABULARY, "max_answer_len": 4}
    sizes = {"vocab_size": 17, "num_hidden_layers": 2, "encoder_width": 16, "max_positions": 12}
    decoder = BertDecoder(**sizes, **SMALL)
    model = made(VindLUVQA, text_decoder=decoder, **options)
    answers = [Answers(("cat", "dog"), np.array([0.75, 0.25])), Answers(("running",), np.ones(1))]
    batch = batch_of(model, [["what is the dog doing"], ["what"]], answers=answers)
    outputs = model(batch.inputs)
    surprise = outputs.surprise
    expected = (0.75 * surprise[0, 0] + 0.25 * surprise[0, 1] + surprise[1, 0]) / 2
    torch.testing.assert_close(model.loss(outputs, batch)["loss"], expected)
    with torch.no_grad():
        (first, _) = model.predict(outputs, batch)
        chance = model.first_logits(outputs).softmax(1)
        # the likelihood of an answer, token by token, and of its first token once more
        likelihood = {}
        for answer, ids in zip(model.answers, model.answer_ids, strict=True):
            total = chance[0, ids[1]]
            for k in range(1, int((ids != 0).sum())):
                logits = model.text_decoder(ids[None, :k], outputs.states[:1], outputs.mask[:1])
                total = total * logits[0, -1].softmax(0)[ids[k]]
            likelihood[answer] = float(total)
    found = first.extra["answers"]
    whole = sum(likelihood.values())
    assert list(found.strings) == sorted(likelihood, key=likelihood.get, reverse=True)
    np.testing.assert_allclose(found.weights, [likelihood[a] / whole for a in found.strings], rtol=1e-4)
    unanswered = batch_of(model, [["what"]])
    asked = model(unanswered.inputs)
    with pytest.raises(DataError, match="training needs answers"):
        model.loss(asked, unanswered)
    with pytest.raises(UserError, match="needs answer_list"):
        made(VindLUVQA, text_decoder=decoder).predict(outputs, batch)


def test_wrong_inputs_are_refused():
    model = made(VindLURetrieval)
    with pytest.raises(UserError, match="takes frames and texts"):
        model.preprocess(collate([Sample(inputs={"imgs": np.zeros((2, 3, 32, 32), np.uint8)})]))
    with pytest.raises(ValueError, match="takes up to 3 frames of 32 x 32 pixels, and got 4 of 32 x 32"):
        model.vision_encoder(torch.zeros(1, 4, 3, 32, 32))
    with pytest.raises(ValueError, match="encoder_width must be that of the video network, 16"):
        VindLURetrieval(networks()[0], XBertModel(vocab_size=17, num_hidden_layers=1, fusion_layer=1))
