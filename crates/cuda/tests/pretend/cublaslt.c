// cuBLASLt without a card: matrices stored by columns, as the library's manual describes them, multiplied in loops.
//
// -DWRONG  sums leave out their last term
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 7, NOT_SUPPORTED = 15, BF16 = 14, F32 = 0 };

struct operation { int transposed[2]; };
struct layout { int type; uint64_t rows, columns; int64_t stride; };
struct preference { uint64_t workspace; uint32_t reductions, aligned[4]; };
struct choice { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; };

static int living;
int pretend_living(void) { return living; }

size_t cublasLtGetVersion(void) { return 130002; }
const char *cublasLtGetStatusString(int status) { return status == INVALID ? "CUBLAS_STATUS_INVALID_VALUE" : status == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_UNKNOWN"; }
int cublasLtCreate(void **handle) { *handle = malloc(1); living++; return SUCCESS; }
int cublasLtDestroy(void *handle) { free(handle); living--; return SUCCESS; }
int cublasLtMatmulDescCreate(struct operation **out, int compute, int scale) {
    if (compute != 68 || scale != F32) return INVALID;
    *out = calloc(1, sizeof **out);
    living++;
    return SUCCESS;
}
int cublasLtMatmulDescDestroy(struct operation *of) { free(of); living--; return SUCCESS; }
int cublasLtMatmulDescSetAttribute(struct operation *of, int attribute, const void *value, size_t size) {
    if (size != 4 || attribute < 3 || attribute > 4) return INVALID;
    of->transposed[attribute - 3] = *(const int32_t *)value;
    return SUCCESS;
}
int cublasLtMatrixLayoutCreate(struct layout **out, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    if (stride < (int64_t)rows || (type != F32 && type != BF16)) return INVALID;
    *out = malloc(sizeof **out);
    **out = (struct layout){type, rows, columns, stride};
    living++;
    return SUCCESS;
}
int cublasLtMatrixLayoutDestroy(struct layout *of) { free(of); living--; return SUCCESS; }
int cublasLtMatmulPreferenceCreate(struct preference **out) { *out = calloc(1, sizeof **out); living++; return SUCCESS; }
int cublasLtMatmulPreferenceDestroy(struct preference *of) { free(of); living--; return SUCCESS; }
int cublasLtMatmulPreferenceSetAttribute(struct preference *of, int attribute, const void *value, size_t size) {
    if (attribute == 1 && size == 8) of->workspace = *(const uint64_t *)value;
    else if (attribute == 3 && size == 4) of->reductions = *(const uint32_t *)value;
    else if (attribute >= 5 && attribute <= 8 && size == 4) of->aligned[attribute - 5] = *(const uint32_t *)value;
    else return INVALID;
    return SUCCESS;
}

// Rows and columns of an operand as the product sees it.
static uint64_t rows(const struct layout *of, int transposed) { return transposed ? of->columns : of->rows; }
static uint64_t columns(const struct layout *of, int transposed) { return transposed ? of->rows : of->columns; }
static int fits(const struct operation *of, const struct layout *a, const struct layout *b, const struct layout *c, const struct layout *d) {
    return columns(a, of->transposed[0]) == rows(b, of->transposed[1]) && rows(a, of->transposed[0]) == d->rows &&
           columns(b, of->transposed[1]) == d->columns && c->rows == d->rows && c->columns == d->columns &&
           a->type == b->type && c->type == d->type;
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, struct operation *of, struct layout *a, struct layout *b, struct layout *c, struct layout *d, struct preference *preference, int asked, struct choice *out, int *found) {
    if (!handle || asked != 1 || !fits(of, a, b, c, d)) return INVALID;
    // Sums in place are not asked for, and every matrix is said to be aligned to its numbers at least.
    if (preference->reductions & 1) return INVALID;
    for (int i = 0; i < 4; i++) if (preference->aligned[i] < 2) return INVALID;
    memset(out, 0, sizeof *out);
    out->algorithm[0] = 0x7ab9;
    out->algorithm[7] = preference->aligned[0];
    out->workspace = preference->workspace;
    *found = 1;
    return SUCCESS;
}

static float get(const void *matrix, const struct layout *of, uint64_t row, uint64_t column) {
    uint64_t at = column * of->stride + row;
    if (of->type == F32) return ((const float *)matrix)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)matrix)[at] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static void set(void *matrix, const struct layout *of, uint64_t row, uint64_t column, float value) {
    uint64_t at = column * of->stride + row;
    if (of->type == F32) { ((float *)matrix)[at] = value; return; }
    uint32_t bits;
    memcpy(&bits, &value, 4);
    ((uint16_t *)matrix)[at] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

int cublasLtMatmul(void *handle, struct operation *of, const float *alpha, const void *a, struct layout *a_of, const void *b, struct layout *b_of, const float *beta, const void *c, struct layout *c_of, void *d, struct layout *d_of, const uint64_t *algorithm, void *workspace, size_t bytes, void *stream) {
    if (!handle || !stream || !workspace || bytes == 0 || algorithm[0] != 0x7ab9 || !fits(of, a_of, b_of, c_of, d_of)) return INVALID;
    if ((uint64_t)a % algorithm[7]) return INVALID;
    uint64_t inner = columns(a_of, of->transposed[0]);
#ifdef WRONG
    inner -= 1;
#endif
    for (uint64_t row = 0; row < d_of->rows; row++)
        for (uint64_t column = 0; column < d_of->columns; column++) {
            double sum = 0;
            for (uint64_t k = 0; k < inner; k++)
                sum += (double)(of->transposed[0] ? get(a, a_of, k, row) : get(a, a_of, row, k)) *
                       (of->transposed[1] ? get(b, b_of, column, k) : get(b, b_of, k, column));
            double added = *beta == 0 ? 0 : *beta * (double)get(c, c_of, row, column);
            set(d, d_of, row, column, (float)(*alpha * sum + added));
        }
    return SUCCESS;
}
