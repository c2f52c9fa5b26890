"""The price book and the deployments that the settings name. Composes; decides nothing."""

from llmtrail.config import Config
from llmtrail.core.gpu_map import Deployment
from llmtrail.core.model_identity import ModelTable
from llmtrail_ingest.pricebook import GenaiPriceBook, load_pricebook


def deployments_of(config: Config) -> list[Deployment]:
    """Return the deployments of the settings, by name."""
    return [
        Deployment(name, one.address, one.model, tuple(one.hosts), tuple(one.gpus), tuple(one.pods))
        for name, one in sorted(config.gpu.deployments.items())
    ]


def models_of(config: Config) -> ModelTable:
    """Return by which names models go by the settings; raises PriceFileError."""
    return price_book(config).models


def price_book(config: Config) -> GenaiPriceBook:
    """Return what calls cost by the settings; raises PriceFileError, whose text says where and what to do."""
    return load_pricebook(
        config.pricing.overrides,
        trust_reported=config.pricing.trust_reported,
        deployments=deployments_of(config),
        aliases=config.models.aliases,
    )
