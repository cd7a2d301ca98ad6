/* GPM: samples of what the chip did, of which two give what it did in between. */
#include "fake.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct snapshot {
  device of;
  double at;
  double areas[MOST_METRICS];
};

struct support {
  u32 layout, supported;
};
static bool supported(device gpu) {
  char *word = said_of(handle(index_of(gpu)), "gpm_supported");
  return !refused(word) && number(word);
}

result nvmlGpmQueryDeviceSupport(device gpu, struct support *answer) {
  ASKED(gpu);
  answer->supported = supported(gpu);
  return SUCCESS;
}

result nvmlGpmSampleAlloc(struct snapshot **answer) {
  ASKED(NULL);
  *answer = calloc(1, sizeof **answer);
  return SUCCESS;
}

result nvmlGpmSampleFree(struct snapshot *sample) {
  ASKED(NULL);
  free(sample);
  return SUCCESS;
}

static result taken(device gpu, struct snapshot *answer) {
  if (!supported(gpu)) return NOT_SUPPORTED;
  answer->of = gpu;
  answer->at = seconds();
  for (u32 metric = 0; metric < MOST_METRICS; metric++)
    answer->areas[metric] = measured(metric) ? area_of(gpu, metric) : 0;
  return SUCCESS;
}

result nvmlGpmSampleGet(device gpu, struct snapshot *answer) {
  ASKED(gpu);
  return call.answer = taken(gpu, answer);
}

result nvmlGpmMigSampleGet(device gpu, u32 gpu_instance, struct snapshot *answer) {
  ASKED(gpu);
  for (int slot = 0; slot < MOST_INSTANCES; slot++) {
    u32 ids[2];
    if (instance(index_of(gpu), slot, &ids[0], &ids[1]) && ids[0] == gpu_instance)
      return call.answer = taken(handle_of_instance(index_of(gpu), slot), answer);
  }
  return call.answer = INVALID_ARGUMENT;
}

struct metrics {
  u32 layout, count;
  struct snapshot *first, *second;
  struct {
    u32 id;
    result result;
    double value;
    const char *name, *long_name, *unit;
  } each[]; /* as many as the caller has room for, which differs between versions of the binding */
};

result nvmlGpmMetricsGet(struct metrics *answer) {
  ASKED(NULL);
  const struct snapshot *first = answer->first, *second = answer->second;
  if (answer->layout != 1) return call.answer = ARGUMENT_VERSION_MISMATCH;
  if (!first || !second || !first->of || first->of != second->of) return call.answer = INVALID_ARGUMENT;
  double passed = second->at - first->at;
  for (u32 each = 0; each < answer->count; each++) {
    u32 id = answer->each[each].id;
    char *word = said_of(second->of, "gpm.%u", id);
    result refusal = id < MOST_METRICS ? refused(word) : NOT_SUPPORTED;
    bool known = !refusal && !isnan(strtod(word, NULL)) && passed > 0;
    answer->each[each].result = refusal;
    answer->each[each].value = refusal ? 0 : known ? (second->areas[id] - first->areas[id]) / passed : NAN;
    answer->each[each].name = answer->each[each].long_name = answer->each[each].unit = "";
  }
  return SUCCESS;
}
