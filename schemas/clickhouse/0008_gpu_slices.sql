-- A slice of a GPU does not cost what the whole GPU does: seven of them would cost seven GPUs.

CREATE OR REPLACE VIEW llmtrail.gpu_hours
(
  deployment String COMMENT 'Deployment that has the GPU.',
  start DateTime('UTC') COMMENT 'When the five minutes begin.',
  host String COMMENT 'Node.',
  gpu_uuid String COMMENT 'The GPU''s own id.',
  mig_instance String COMMENT 'Number of the MIG instance on its GPU; empty for a whole GPU.',
  gpu_name String COMMENT 'Model of the GPU.',
  covered_s Float64 COMMENT 'Seconds that samples cover.',
  busy_s Nullable(Float64) COMMENT 'Seconds in which it was in use.',
  energy_j Nullable(Float64) COMMENT 'Energy used in the covered seconds, in joules.',
  cost_nanousd Nullable(Float64) COMMENT 'What the covered seconds cost, in nano-dollars. NULL: no price holds at that time; a MIG slice has one by its deployment''s name only.',
  idle_nanousd Nullable(Float64) COMMENT 'Of that, what the seconds cost in which it was not in use.'
)
AS WITH
  (SELECT groupArray((gpu, valid_from, valid_to, nanousd_per_hour)) FROM llmtrail.gpu_prices) AS prices,
  arrayFilter(p -> (p.1 = d.deployment OR (p.1 = g.gpu_name AND g.mig_instance = '')) AND p.2 <= g.start AND g.start < p.3, prices) AS named,
  arraySort(p -> p.1 != d.deployment, named) AS own_first,
  if(empty(own_first), NULL, own_first[1].4 / 3600) AS nanousd_s
SELECT
  d.deployment AS deployment,
  g.start AS start,
  g.host AS host,
  g.gpu_uuid AS gpu_uuid,
  g.mig_instance AS mig_instance,
  g.gpu_name AS gpu_name,
  toFloat64(g.covered_s) AS covered_s,
  toFloat64(g.busy_s) AS busy_s,
  g.energy_j AS energy_j,
  g.covered_s * nanousd_s AS cost_nanousd,
  (g.covered_s - g.busy_s) * nanousd_s AS idle_nanousd
FROM llmtrail.gpu_5m AS g
INNER JOIN llmtrail.gpu_deployments AS d ON g.host = d.host
WHERE (d.gpu = '' OR d.gpu = g.gpu_uuid OR d.gpu = toString(ifNull(g.gpu_index, 65535)))
  AND (d.pod = '' OR g.pod LIKE replaceAll(d.pod, '*', '%'))
LIMIT 1 BY start, host, gpu_uuid, mig_instance, deployment
COMMENT 'Five minutes of each GPU of a deployment, with energy and cost; deployments that name no node are left out.';
