/* Field values: numbers asked for by their ids, each with its own type, scope and return code. */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum type { F64, U32, ULONG, U64, I64, I32, U16, TYPES };
static const char *const TYPE_NAMES[TYPES] = {"f64", "u32", "ulong", "u64", "i64", "i32", "u16"};

/* What a scope says: nothing; which link; which link, of a word that is the sum of all; or which part of the board. */
enum scope { NO_SCOPE, LINK, SHARED_BY_LINKS, PART };
#define EVERY_LINK 0xFFFFFFFFu

static const struct meaning {
  u32 first, last;
  enum type type;
  enum scope scope;
  const char *word; /* a % stands for how far behind the first id it is */
} MEANINGS[] = {
    {3, 3, U64, NO_SCOPE, "ecc.corrected.volatile"},
    {4, 4, U64, NO_SCOPE, "ecc.uncorrected.volatile"},
    {5, 5, U64, NO_SCOPE, "ecc.corrected.aggregate"},
    {6, 6, U64, NO_SCOPE, "ecc.uncorrected.aggregate"},
    {29, 29, U32, NO_SCOPE, "retired.single_bit"},
    {30, 30, U32, NO_SCOPE, "retired.double_bit"},
    {31, 31, U32, NO_SCOPE, "retired_pending"},
    {74, 79, U64, NO_SCOPE, "violation.%"},
    {80, 80, U64, NO_SCOPE, "violation.10"},
    {81, 81, U64, NO_SCOPE, "violation.11"},
    {82, 82, U32, NO_SCOPE, "memory_temperature"},
    {83, 83, U64, NO_SCOPE, "energy_mj"},
    {91, 91, U32, NO_SCOPE, "nvlink.count"},
    {94, 94, U32, NO_SCOPE, "pcie_replays"},
    {95, 95, U32, NO_SCOPE, "pcie_rollovers"},
    {138, 138, U64, SHARED_BY_LINKS, "transmitted_kib"},
    {139, 139, U64, SHARED_BY_LINKS, "received_kib"},
    {140, 140, U64, SHARED_BY_LINKS, "raw_transmitted_kib"},
    {141, 141, U64, SHARED_BY_LINKS, "raw_received_kib"},
    {142, 142, U32, NO_SCOPE, "remapped_correctable"},
    {143, 143, U32, NO_SCOPE, "remapped_uncorrectable"},
    {144, 144, U32, NO_SCOPE, "remap_pending"},
    {145, 145, U32, NO_SCOPE, "remap_failed"},
    {160, 160, U64, NO_SCOPE, "nvlink.errors.ecc"},
    {161, 161, U64, LINK, "errors.replay"},
    {162, 162, U64, LINK, "errors.recovery"},
    {163, 163, U64, LINK, "errors.crc"},
    {164, 164, U32, LINK, "mbps"},
    {165, 165, U32, LINK, "state"},
    {166, 166, U32, LINK, "version"},
    {185, 185, U32, PART, "power_average_mw"},
    {186, 186, U32, PART, "power_instant_mw"},
    {193, 193, I32, NO_SCOPE, "limit_shutdown"},
    {194, 194, I32, NO_SCOPE, "limit_slowdown"},
    {195, 195, I32, NO_SCOPE, "limit_memory"},
    {196, 196, I32, NO_SCOPE, "limit_gpu"},
    {197, 197, U64, NO_SCOPE, "pcie_transmitted"},
    {198, 198, U64, NO_SCOPE, "pcie_received"},
    {202, 202, U64, SHARED_BY_LINKS, "transmitted"},
    {204, 204, U64, SHARED_BY_LINKS, "received"},
    {230, 230, U32, NO_SCOPE, "recovery_action"},
    {269, 269, U64, NO_SCOPE, "violation.sw_thermal"},
    {270, 270, U64, NO_SCOPE, "violation.hw_thermal"},
    {271, 271, U64, NO_SCOPE, "violation.power_brake"},
};

struct field {
  u32 id, scope;
  long long stamp, microseconds;
  u32 type;
  result result;
  union {
    double f64;
    u32 u32;
    int i32;
    u64 u64;
    unsigned short u16;
  } value;
};
_Static_assert(sizeof(struct field) == 40, "as the driver lays it out");

static const struct meaning *meaning_of(u32 id) {
  for (size_t each = 0; each < sizeof MEANINGS / sizeof *MEANINGS; each++)
    if (MEANINGS[each].first <= id && id <= MEANINGS[each].last) return &MEANINGS[each];
  return NULL;
}

static result of_a_link(device gpu, const struct meaning *meaning, u32 link, const char **word) {
  char *links = said_of(gpu, "nvlink.count");
  if (refused(links)) return refused(links);
  if (link >= (u32)number(links) && (link != EVERY_LINK || meaning->scope != SHARED_BY_LINKS)) return INVALID_ARGUMENT;
  char *own = said_of(gpu, "nvlink.%u.%s", link, meaning->word);
  *word = own ? own : said_of(gpu, "nvlink.%s", meaning->word);
  return SUCCESS;
}

static const char *own(device gpu, const struct field *field) {
  if (!says_of_fields()) return NULL;
  char *word = said_of(gpu, "field.%u.%u", field->id, field->scope);
  return word ? word : said_of(gpu, "field.%u", field->id);
}

/* The word that answers: one of the field's own, else the one by which a function of the library tells the same. */
static result word_of(device gpu, const struct field *field, const char **word) {
  const struct meaning *meaning = meaning_of(field->id);
  *word = own(gpu, field);
  if (*word || !meaning) return SUCCESS;
  if (142 <= field->id && field->id <= 145 && slot_of(gpu) == NOBODY && split(index_of(gpu))) return NOT_SUPPORTED;
  if (meaning->scope == LINK || meaning->scope == SHARED_BY_LINKS) return of_a_link(gpu, meaning, field->scope, word);
  if (meaning->scope == PART && field->scope) return NOT_SUPPORTED;
  int fixed = (int)strcspn(meaning->word, "%");
  if (meaning->word[fixed]) *word = said_of(gpu, "%.*s%u", fixed, meaning->word, field->id - meaning->first);
  else *word = said_of(gpu, "%s", meaning->word);
  return SUCCESS;
}

/* The part of one link, of a word that is the sum of all. */
static u64 share(device gpu, const struct field *field, const struct meaning *meaning) {
  bool shared = meaning && meaning->scope == SHARED_BY_LINKS && field->scope != EVERY_LINK &&
                !said_of(gpu, "nvlink.%u.%s", field->scope, meaning->word) && !own(gpu, field);
  return shared ? (u64)number(said_of(gpu, "nvlink.count")) : 1;
}

/* A word may begin with a type, as "i32:-5", which goes before the field's usual one. */
static u32 typed(const char **word, const struct meaning *meaning) {
  for (u32 type = 0; type < TYPES; type++) {
    size_t length = strlen(TYPE_NAMES[type]);
    if (strncmp(*word, TYPE_NAMES[type], length) || (*word)[length] != ':') continue;
    *word += length + 1;
    return type;
  }
  return meaning ? meaning->type : U32;
}

static void fill(device gpu, struct field *field) {
  const struct meaning *meaning = meaning_of(field->id);
  const char *word = NULL;
  const char *claimed = says_of_fields() ? said_of(gpu, "field_type.%u", field->id) : NULL;
  char *known = said("driver.fields");
  field->result = known && field->id >= (u32)number(known) ? INVALID_ARGUMENT : word_of(gpu, field, &word);
  if (!field->result) field->result = refused(word);
  if (field->result) return;
  field->stamp = (long long)time(NULL) * 1000000;
  field->microseconds = 0;
  field->type = typed(&word, meaning);
  u64 share_of = share(gpu, field, meaning);
  if (field->type == F64) field->value.f64 = strtod(word, NULL);
  else if (field->type == U32) field->value.u32 = (u32)amount(word);
  else if (field->type == I32) field->value.i32 = (int)amount(word);
  else if (field->type == U16) field->value.u16 = (unsigned short)amount(word);
  else if (meaning && meaning->scope == SHARED_BY_LINKS)
    field->value.u64 += amount(word) / share_of; /* adds to what it finds there, as drivers do for some fields */
  else field->value.u64 = amount(word);
  if (claimed) field->type = (u32)number(claimed);
}

result nvmlDeviceGetFieldValues(device gpu, int count, struct field *fields) {
  ASKED(gpu);
  for (int each = 0; each < count; each++) fill(gpu, &fields[each]);
  return SUCCESS;
}
