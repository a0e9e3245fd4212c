"""Components, recipes and commands of vid-retrieval."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "models": offer(
            "vid_retrieval.models",
            actionclip=["ActionClip"],
            adapters=["SimpleMeanAdapter", "TransformerAdapter"],
            beit=["BeitModel3D"],
            bert=["BertDecoder", "XBertModel"],
            clip=["CLIP"],
            similarity=["CLIPSimilarity"],
            vindlu=["VindLURetrieval", "VindLURetrievalMC", "VindLUVQA"],
        ),
        "datasets": offer(
            "vid_retrieval.datasets",
            captions=["MSRVTTRetrieval", "VideoTextDataset"],
            questions=["MSRVTTVQA", "MSRVTTVQAMC"],
        ),
        "metrics": offer(
            "vid_retrieval.metrics",
            answers=["ReportVQA", "VQAAcc", "VQAMCACC"],
            matching=["MatchRecall"],
            retrieval=["RetrievalMetric", "RetrievalRecall"],
        ),
        "transforms": offer("vid_retrieval.transforms", tokens=["CLIPTokenize"], word_pieces=["BertTokenize"]),
    }


@hookimpl
def vidcore_recipes() -> str:
    return "vid_retrieval:recipes"


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "data prepare msrvtt": "vid_retrieval.prepare.command:msrvtt",
        "data prepare msvd": "vid_retrieval.prepare.command:msvd",
        "demo retrieval": "vid_retrieval.demo:retrieval",
        "embed": "vid_retrieval.search.command:embed",
        "search": "vid_retrieval.search.command:search",
    }
