"""ActionCLIP: recognition by words (Wang et al. 2021, arXiv:2109.08472).

Each class is a set of sentences, its name in several templates. A video belongs to the class whose sentences it is most
similar to; so the classes can be changed after training.

Shapes: B samples, V views of a sample, P templates, K classes, L tokens, D channels of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_retrieval.clip_tokens import ClipTokenizer, check_text
from vid_retrieval.models.dual import MEAN, STD, DualEncoder, contrast
from vid_retrieval.records import Embeddings
from vid_retrieval.transforms.tokens import CLIPTokenize
from vidcore.batch import Batch
from vidcore.data.classes import read_classes
from vidcore.data.text import read_text
from vidcore.engine.shard import is_sharded
from vidcore.errors import DataError, UserError
from vidcore.nn import require
from vidcore.protocols import Transform
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["TEMPLATES", "ActionClip", "prompts"]

TEMPLATES = (
    "a photo of action {}",
    "a picture of action {}",
    "human action of {}",
    "{}, an action",
    "{} this is an action",
    "{}, a video of action",
    "playing action of {}",
    "{}",
    "playing a kind of action, {}",
    "doing a kind of action, {}",
    "look, the human is {}",
    "can you recognize the action of {}?",
    "video classification of {}",
    "a video of {}",
    "the man is {}",
    "the woman is {}",
)
"""the templates of the paper (table 9)."""
Outputs = tuple[Tensor, Tensor, Tensor]
FACTOR = 100.0
"""Factor on the cosines before the softmax over classes, in predictions; losses have the learned one."""


def prompts(labels: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Return the sentences of all classes: for each template, one for each label.

    >>> prompts(["open_door", "close"], ["a video of {}", "{}"])
    ['a video of open door', 'a video of close', 'open door', 'close']

    Raises:
        UserError: a label is empty, or a template has no place for it.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise UserError(f"templates: {template!r} must contain {{}} once, the place of a label")
    names = [check_text(label, f"label {i}").replace("_", " ") for i, label in enumerate(labels)]
    return [template.replace("{}", name) for template in templates for name in names]


class ActionClip(DualEncoder):
    """Recognises the classes whose names it is given.

    Args:
        clip: the towers, a ``CLIP``.
        adapter: from frames to videos: ``TransformerAdapter`` in published networks; without training, use
            ``SimpleMeanAdapter``.
        vocabulary: of the tokens, as for ``CLIPTokenize``.
        labels: names of the classes, or a file with a name in each line. Underscores are blanks.
        templates: sentences with ``{}`` in place of a name, or a file with one in each line; default: the 16 of the
            paper.
        too_long: what happens to a sentence with more tokens than ``clip`` reads: ``cut``, or ``refuse`` is an error.
        loss_weight: factor on the losses of both directions.
        mean, std: of the channels of frames, in the range 0 to 255.

    Raises:
        UserError: a label, a template or the vocabulary is not valid.
        ValueError: another argument is not valid.
    """

    def __init__(
        self,
        clip: nn.Module,
        adapter: nn.Module,
        vocabulary: Path,
        labels: Path | list[str],
        templates: Path | list[str] | None = None,
        too_long: Literal["cut", "refuse"] = "refuse",
        loss_weight: float = 0.5,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__(clip, adapter, mean, std)
        self.loss_weight = loss_weight
        names = read_classes(labels) or ()
        forms = templates if templates is not None else list(TEMPLATES)
        if isinstance(forms, Path):
            forms = [line for line in read_text(forms, "file of templates").splitlines() if line.strip()]
        require(len(forms) > 0, "templates must not be empty")
        self.labels = names
        self.num_templates = len(forms)
        self.tokenizer = ClipTokenizer(vocabulary, self.clip.context_length, too_long)
        ids = np.stack([self.tokenizer(sentence)[0] for sentence in prompts(names, forms)])
        self.register_buffer("prompt_ids", torch.from_numpy(ids), persistent=False)
        self._kept: tuple[object, Tensor] | None = None

    prompt_ids: Tensor
    """(P * K, L) int64: for each template, the sentence of each class."""

    def tokenize_step(self) -> CLIPTokenize:
        """Return the step that reads other sentences than those of the classes."""
        return CLIPTokenize(self.tokenizer.vocabulary, self.tokenizer.context_length, self.tokenizer.too_long)

    def sample_step(self) -> Transform:
        """Add a sentence about the class of an annotated sample, with a template drawn at random."""
        return _Prompt(self.prompt_ids.unflatten(0, (self.num_templates, -1)).cpu().numpy())

    def forward(self, inputs: Any) -> Outputs:
        """Return embeddings of videos (B, V, D) and of texts, of any length, and the temperature (1,).

        Embeddings of texts are, with gradients, those of the sentence of each sample (B, D), otherwise those of the
        sentences of all classes (P, K, D), which predictions need.

        Args:
            inputs: ``imgs`` (B, V * T, 3, H, W), normalised, and, for a loss, ``text`` (B, L) int64.
        """
        if isinstance(inputs, Tensor):
            inputs = {"imgs": inputs}
        learns = "text" in inputs and torch.is_grad_enabled()
        texts = self.clip.encode_texts(inputs["text"]) if learns else self.class_features()
        return self.encode_videos(inputs["imgs"]), texts, self.clip.temperature

    def class_features(self) -> Tensor:
        """Return (P, K, D) embeddings of length 1 of the sentences of all classes, computed once for given weights."""
        weights = None if is_sharded(self) else tuple((p.data_ptr(), p._version) for p in self.clip.parameters())
        if weights is None or self._kept is None or self._kept[0] != weights:
            with torch.inference_mode(False), torch.no_grad():
                rows = torch.cat([self.text_features(ids) for ids in self.prompt_ids.split(256)])
            self._kept = weights, rows.unflatten(0, (self.num_templates, -1))
        return self._kept[1]

    def scores(self, videos: Tensor, classes: Tensor) -> Tensor:
        """Return (B, K) probabilities of classes: the mean over templates and views of a softmax over classes.

        Args:
            videos: (B, V, D) embeddings of any length.
            classes: (P, K, D) embeddings of length 1 of the sentences of all classes.
        """
        cosines = torch.einsum("bvd,pkd->bvpk", F.normalize(videos.float(), dim=-1), classes)
        return (FACTOR * cosines).softmax(-1).mean((1, 2))

    def clip_logits(self, inputs: Any) -> Tensor:
        """Return (B, K) logarithms of the probabilities of classes."""
        frames = inputs["imgs"] if isinstance(inputs, Mapping) else inputs
        return self.scores(self.encode_videos(frames), self.class_features()).log()

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return ``sim_loss_v2t`` and ``sim_loss_t2v``, the cross entropy of each direction.

        Samples of one class belong together: each of them is an equally good answer (section 3.1, eq. 3).

        Raises ``DataError`` if samples have no label.
        """
        videos, texts, temperature = outputs
        if texts.ndim != 2 or batch.labels is None:
            raise DataError("training needs samples with a label each")
        gather = batch.collectives.all_gather
        same = gather(batch.labels)
        return contrast(gather(videos.mean(1)), gather(texts), temperature, self.loss_weight, same[:, None] == same)

    def predict(self, outputs: Outputs, batch: Batch) -> list[Sample]:
        """Return samples with ``scores``, probabilities of the classes, their names, and ``video_embedding``."""
        scores, videos = self.scores(*outputs[:2]), F.normalize(outputs[0].float(), dim=-1).mean(1, keepdim=True)
        rows = zip(batch.samples, scores.cpu().numpy(), videos.cpu().numpy(), strict=True)
        return [
            sample.replace(scores=row, class_names=self.labels).with_extra(video_embedding=Embeddings(vector))
            for sample, row, vector in rows
        ]


@frozen
class _Prompt:
    """Adds the input ``text`` of a sample with a label: (L,) int64."""

    ids: Array
    """(P, K, L) int64."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.label is None:
            return sample
        if not 0 <= sample.label < self.ids.shape[1]:
            raise DataError(
                f"sample {sample.index} ({sample.path}) has class {sample.label}, and the model has "
                f"{self.ids.shape[1]} labels"
            )
        return sample.with_inputs(text=self.ids[rng.integers(len(self.ids)), sample.label])
