"""stub"""
from snnc.ir.op import Op
OPS: tuple[Op, ...] = ()
