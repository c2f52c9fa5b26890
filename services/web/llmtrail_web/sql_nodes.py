"""What a statement may be made of: kinds of nodes and their fields, tables, words. Data for `sql_wall`."""

import re
from collections.abc import Mapping
from typing import Any, Final

# One node of the tree, as the engine writes it: a kind under "type", fields, and nodes in them.
Node = dict[str, Any]

DATABASE: Final = "llmtrail"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What describes data, types and settings. Tables about other sessions, threads, users or disks are refused.
SYSTEM_TABLES: Final = _words(
    "one numbers numbers_mt zeros zeros_mt tables columns databases settings functions formats data_type_families "
    "table_functions table_engines parts parts_columns build_options time_zones keywords collations codecs "
    "aggregate_function_combinators data_skipping_indices dictionaries documentation licenses contributors "
    "merge_tree_settings projections constraints tokenizers"
)
INFORMATION_TABLES: Final = _words(
    "tables columns schemata views key_column_usage referential_constraints statistics engines character_sets "
    "collations"
)
NAME: Final = re.compile(r"\w{1,200}")

OUTPUT: Final = "is_outfile_append is_outfile_truncate is_into_outfile_with_stdout"
# Kinds of nodes that may stand in a statement, and the fields that they may have.
KINDS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(fields.split())
    for kind, fields in {
        "SelectWithUnionQuery": f"union_mode list_of_modes list_of_selects {OUTPUT}",
        "SelectIntersectExceptQuery": f"final_operator list_of_selects children {OUTPUT}",
        "SelectQuery": "select distinct tables prewhere where group_by having qualify order_by window with "
        "recursive_with limit_length limit_offset limit_by limit_by_length limit_by_offset limit_with_ties interpolate "
        "cte_aliases group_by_all order_by_all group_by_with_totals group_by_with_rollup group_by_with_cube "
        "group_by_with_grouping_sets",
        "ExplainQuery": f"kind query settings {OUTPUT}",
        "ShowTablesQuery": f"databases full from like not_like case_insensitive_like where_expression limit_length "
        f"settings changed {OUTPUT}",
        "ShowColumnsQuery": f"full extended database table like not_like case_insensitive_like where_expression "
        f"limit_length {OUTPUT}",
        "ShowIndexesQuery": f"extended database table where_expression {OUTPUT}",
        "ExpressionList": "children",
        "Literal": "value alias",
        "Identifier": "name name_parts alias",
        "TableIdentifier": "name name_parts alias",
        "Function": "name arguments parameters alias is_operator is_lambda_function is_window_function kind "
        "window_name window_definition nulls_action",
        "Subquery": "children alias",
        "QueryParameter": "name param_type alias",
        "WithElement": "name subquery aliases is_materialized",
        "TablesInSelectQuery": "children",
        "TablesInSelectQueryElement": "table_join table_expression array_join",
        "TableExpression": "database_and_table_name table_function subquery final sample_size sample_offset "
        "column_aliases",
        "TableJoin": "kind strictness locality on_expression using_expression_list",
        "ArrayJoin": "kind expression_list",
        "SampleRatio": "numerator denominator",
        "OrderByElement": "direction nulls_direction nulls_direction_was_explicitly_specified expression with_fill "
        "fill_from fill_to fill_step fill_staleness collation",
        "Collation": "collation",
        "InterpolateElement": "column expr",
        "WindowDefinition": "parent_window_name partition_by order_by frame_is_default frame_type frame_begin_type "
        "frame_begin_offset frame_begin_preceding frame_end_type frame_end_offset frame_end_preceding",
        "WindowListElement": "name definition",
        "Asterisk": "expression transformers",
        "QualifiedAsterisk": "qualifier transformers",
        "ColumnsListMatcher": "expression column_list transformers",
        "ColumnsRegexpMatcher": "expression pattern transformers",
        "QualifiedColumnsListMatcher": "qualifier column_list transformers",
        "QualifiedColumnsRegexpMatcher": "qualifier pattern transformers",
        "ColumnsTransformerList": "children",
        "ColumnsApplyTransformer": "func_name parameters lambda lambda_arg column_name_prefix",
        "ColumnsExceptTransformer": "children pattern is_strict",
        "ColumnsReplaceTransformer": "children is_strict",
        "ColumnsReplaceTransformerReplacement": "name children",
        "SetQuery": "changes",
    }.items()
}
# Statements by their first node. The parser makes SELECT of every bare expression, VALUES and FROM-first query.
STATEMENTS: Final = frozenset(
    {"SelectWithUnionQuery", "SelectIntersectExceptQuery", "ExplainQuery", "ShowTablesQuery", "ShowColumnsQuery"}
    | {"ShowIndexesQuery"}
)
READS: Final = "SELECT, WITH, FROM, SHOW, DESCRIBE, EXISTS, EXPLAIN"
ALL_COLUMNS: Final = frozenset(
    {"Asterisk", "QualifiedAsterisk", "ColumnsListMatcher", "ColumnsRegexpMatcher"}
    | {"QualifiedColumnsListMatcher", "QualifiedColumnsRegexpMatcher"}
)
# Fields of a function that stands for a table.
TABLE_FUNCTION: Final = _words("type name arguments alias kind is_operator")
NAMED: Final = frozenset({"Identifier", "TableIdentifier"})
FUNCTION_KINDS: Final = frozenset({"LAMBDA_FUNCTION", "WINDOW_FUNCTION", "ORDINARY_FUNCTION"})
EXPLAINS: Final = frozenset(
    {"EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE", "EXPLAIN PIPELINE", "EXPLAIN ESTIMATE"}
)
# The others count rows, parts and marks that are not the tenant's.
TENANTS_EXPLAINS: Final = frozenset({"EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE"})
EXPLAIN_OPTIONS: Final = _words(
    "header actions indexes projections json sorting description optimize oneline graph compact run_passes dump_passes "
    "passes dump_tree dump_ast query_tree_passes run_query_tree_passes input_headers column_structure "
    "keep_logical_steps pretty"
)
# Columns of a table function are described by a text, which may hold expressions behind these words.
STRUCTURED: Final[Mapping[str, int]] = {"values": 0, "null": 0, "generaterandom": 0, "format": 1}
DESCRIBES_MORE: Final = re.compile(r"\b(DEFAULT|MATERIALIZED|EPHEMERAL|ALIAS|CODEC|TTL|STATISTICS)\b", re.IGNORECASE)
TEXT_FORMATS: Final = re.compile(r"(JSON|CSV|TSV|TabSeparated|CustomSeparated)\w*|Values|LineAsString|RawBLOB")
