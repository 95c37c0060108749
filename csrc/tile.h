/* The register tile: R rows x V vectors of sums that stay in registers for the whole k loop. Every
 * product in rnnfast runs here: gates, matmul, and, with rows as its k axis, weight gradients.
 *
 * Each element is one chain of fused multiply-adds in the order of the operands and of k, whatever
 * the tile's size: so results depend neither on threads nor on how rows were dealt to tiles. */

/* acc[r][v] += sum over n of a[r * row + n * step] * w[n * pitch + v * LANES + lane] */
typedef struct {
    const real *a;
    ptrdiff_t row, step;
    const real *w;
    ptrdiff_t pitch, n;
} NAME(operand);
#define operand NAME(operand)

/* Before the compiler places the sums, so that it sees no array but registers. */
#define UNROLL _Pragma("GCC unroll 6")

/* acc is [rows][RNNFAST_VECTORS]; a tile of fewer vectors uses the first ones of each row. */
INLINE void NAME(tile)(const int R, const int V, vec *restrict acc, const operand *op, int n_op)
{
    vec s[TILE_ROWS][RNNFAST_VECTORS];
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int v = 0; v < V; v++) s[r][v] = acc[r * RNNFAST_VECTORS + v];
    }
    for (; n_op > 0; n_op--, op++) {
        const real *a = op->a, *w = op->w;
        const ptrdiff_t row = op->row, step = op->step, pitch = op->pitch;
        for (ptrdiff_t n = op->n; n > 0; n--, a += step, w += pitch) {
            vec weight[RNNFAST_VECTORS];
            UNROLL
            for (int v = 0; v < V; v++) weight[v] = load(w + v * LANES);
            UNROLL
            for (int r = 0; r < R; r++) {
                const vec x = splat(a[r * row]);
                UNROLL
                for (int v = 0; v < V; v++) s[r][v] += x * weight[v];
            }
        }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int v = 0; v < V; v++) acc[r * RNNFAST_VECTORS + v] = s[r][v];
    }
}

typedef void (*NAME(tile_fn))(vec *restrict acc, const operand *op, int n_op);

#define TILE(R, V)                                                                                 \
    static void NAME(tile_##R##x##V)(vec *restrict acc, const operand *op, int n_op)               \
    {                                                                                              \
        NAME(tile)(R, V, acc, op, n_op);                                                           \
    }
#define TILES(R) TILE(R, 1) TILE(R, 2) TILE(R, 3) TILE(R, 4)
#define TILE_NAMES(R)                                                                              \
    {NAME(tile_##R##x1), NAME(tile_##R##x2), NAME(tile_##R##x3), NAME(tile_##R##x4)}
TILES(1)
TILES(2)
TILES(3)
#if TILE_ROWS == 6
TILES(4)
TILES(5)
TILES(6)
#endif
static const NAME(tile_fn) NAME(tiles)[TILE_ROWS][RNNFAST_VECTORS] = {
    TILE_NAMES(1), TILE_NAMES(2), TILE_NAMES(3),
#if TILE_ROWS == 6
    TILE_NAMES(4), TILE_NAMES(5), TILE_NAMES(6),
#endif
};
#undef TILE
#undef TILES
#undef TILE_NAMES
#define run_tile(R, V, acc, op, n_op) NAME(tiles)[(R) - 1][(V) - 1](acc, op, n_op)

/* Rows of the next tile when `left` rows are left: as even as can be (16 = 6 + 5 + 5). */
INLINE int NAME(deal)(ptrdiff_t left)
{
    const ptrdiff_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
    return (int)((left + tiles - 1) / tiles);
}
#define deal NAME(deal)

/* Vectors that panel p of a single-gate pack of n outputs holds. */
INLINE int NAME(panel_vectors)(ptrdiff_t n, ptrdiff_t p)
{
    const ptrdiff_t vectors = (n + LANES - 1) / LANES - p * RNNFAST_VECTORS;
    return (int)(vectors < RNNFAST_VECTORS ? vectors : RNNFAST_VECTORS);
}
#define panel_vectors NAME(panel_vectors)

/* acc (rows, 4 vectors) += the operands, whose `a` points at row 0 and is the same operand for each
 * row. Long sums go in passes of DEPTH, so that a pass of the panel stays in the second-level cache
 * while all rows go over it; the order of each sum is the same. */
enum { NAME(DEPTH) = 32768 / VECTOR_BYTES };

INLINE void NAME(add_products)(vec *acc, ptrdiff_t rows, int V, const operand *op, int n_op)
{
    ptrdiff_t done = 0; /* of *op */
    while (n_op > 0) {
        operand pass[RNNFAST_VECTORS];
        int n = 0;
        for (ptrdiff_t left = NAME(DEPTH); n_op > 0 && left > 0 && n < RNNFAST_VECTORS; n++) {
            const ptrdiff_t take = op->n - done < left ? op->n - done : left;
            pass[n] = (operand){op->a + done * op->step,  op->row,   op->step,
                                op->w + done * op->pitch, op->pitch, take};
            left -= take;
            done += take;
            if (done == op->n) op++, n_op--, done = 0;
        }
        for (ptrdiff_t b = 0, R; b < rows; b += R) {
            R = deal(rows - b);
            run_tile(R, V, acc + b * RNNFAST_VECTORS, pass, n);
            for (int i = 0; i < n; i++) pass[i].a += R * pass[i].row;
        }
    }
}
#define add_products NAME(add_products)

/* Rows whose sums wait between passes. */
enum { NAME(ROW_BLOCK) = 16 * TILE_ROWS };
