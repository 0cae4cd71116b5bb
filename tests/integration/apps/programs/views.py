# SPDX-License-Identifier: BSD-3-Clause
import os

from django.http import JsonResponse
from django.urls import path

from channelsd.layer import ChannelLayerTimeout, ChannelLayerUnavailable
from programs import calls


def answer(value, status=200):
    return JsonResponse({"pid": os.getpid(), "value": value}, status=status)


def failed(error):
    return answer(f"{type(error).__name__}: {error}", 503)


def tell(request, count):
    try:
        calls.tell(count)
    except (ChannelLayerTimeout, ChannelLayerUnavailable) as error:
        return failed(error)
    return answer(count)


async def atell(request, count):
    try:
        await calls.atell(count)
    except (ChannelLayerTimeout, ChannelLayerUnavailable) as error:
        return failed(error)
    return answer(count)


def ask(request, number):
    return answer(calls.ask(number))


async def aask(request, number):
    return answer(await calls.aask(number))


urlpatterns = [
    path("tell/<int:count>", tell),
    path("atell/<int:count>", atell),
    path("ask/<int:number>", ask),
    path("aask/<int:number>", aask),
]
